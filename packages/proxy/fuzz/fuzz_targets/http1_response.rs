#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plait_fuzz::http1::http1_response(input));
