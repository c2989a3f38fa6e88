//! Bytes of a client connection on stdin, what a proxy would send on to stdout.
//!
//! On stderr one line a request: method, target and the body in hexadecimal. When one is refused nothing is sent on: the status stands
//! alone on stdout and the exit code is 1.

use std::{
    io::{self, Read, Write},
    process::ExitCode,
};

mod forward;

fn main() -> io::Result<ExitCode> {
    let (mut input, mut out) = (Vec::new(), Vec::new());
    io::stdin().read_to_end(&mut input)?;
    let messages = match forward::forward(&input, &mut out) {
        Ok(messages) => messages,
        Err(error) => {
            println!("{}", error.status());
            eprintln!("{error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    for message in messages {
        let body: String = message.body.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("{} {} {body}", message.method, message.target);
    }
    io::stdout().write_all(&out)?;
    Ok(ExitCode::SUCCESS)
}
