#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plait_fuzz::frames::frames_call(input));
