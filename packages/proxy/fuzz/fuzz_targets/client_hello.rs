#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plait_fuzz::client_hello::client_hello(input));
