//! The first message of TLS: the verdict does not depend on how the bytes arrive, and a name that is told is one that a route can take.

use plait_decide::client_hello::{ClientHello, client_hello as read};

/// Checks every prefix of the input against the whole.
pub fn client_hello(input: &[u8]) {
    let whole = read(input);
    // Every early prefix, and some of the others: a message may be long.
    let cuts = (0..input.len().min(512)).chain((512..input.len()).step_by(97));
    for cut in cuts {
        let early = read(&input[..cut]);
        assert!(early == ClientHello::NeedMore || early == whole, "{early:?} after {cut} bytes, {whole:?} in the end");
    }
    if let ClientHello::Names(name) = whole {
        assert!(name.len() <= 253 && name.split('.').all(|label| !label.is_empty()), "{name:?} is no name");
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()), "{name:?} is not canonical");
        let spelt: Vec<u8> = input.to_ascii_lowercase();
        // In one record the name stands in the input as it is told; records may split it.
        let records = usize::from(u16::from_be_bytes([input[3], input[4]])) + 5;
        assert!(records > input.len() || spelt.len() > records || spelt.windows(name.len()).any(|part| part == name.as_bytes()));
    }
}
