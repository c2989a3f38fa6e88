//! The binary `plait-proxy`: reads its arguments and hands over to the file of each command.

mod decide;
mod redirect;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

/// HTTP/2 allocates for each field and frame: small blocks that live for a request.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The data path of Plait.
#[derive(Debug, Parser)]
#[command(name = "plait-proxy", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what would happen to a request, from resources in a file, as JSON
    Decide(decide::Decide),
    /// Has the kernel send the connections of this pod or machine through its proxy, or takes that back
    Redirect(redirect::Redirect),
    /// Serves workloads until it is told to stop
    Run(run::Run),
}

/// Exit codes: 0 done, 1 the thing asked about is not so or broke, 2 wrong usage (clap's own for bad arguments), 3 cut short.
fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Decide(command) => match decide::run(&command) {
            Ok(text) => {
                println!("{text}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("✗ {error}");
                ExitCode::from(error.exit_code())
            }
        },
        Command::Redirect(command) => match redirect::run(&command) {
            Ok(text) => {
                println!("{text}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("✗ {error}");
                ExitCode::FAILURE
            }
        },
        Command::Run(command) => run::run(command).unwrap_or_else(|error| {
            eprintln!("✗ {error}");
            ExitCode::from(error.exit_code())
        }),
    }
}
