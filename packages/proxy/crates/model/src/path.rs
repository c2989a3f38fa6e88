//! One canonical path, made once at the edge: routing, policy, logs and the upstream all see the same.

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not start with '/'.
    #[error("the path must start with '/'")]
    Relative,
    /// A byte that has no place in a path: control, space, '#', NUL (also encoded), not ASCII.
    #[error("the path holds a byte that is not allowed there")]
    Byte,
    /// '%' without two hexadecimal digits.
    #[error("the path holds a '%' without two hexadecimal digits")]
    Encoding,
    /// ".." above the root.
    #[error("the path climbs above the root")]
    Escape,
}

/// Appends the canonical form of `path` (no query) to `out`, or refuses.
///
/// Encoded unreserved characters are decoded, other escapes written in upper case, a backslash becomes '/', repeated slashes are merged,
/// "." and ".." are resolved. `%2F` and `%5C` stay as they are: decoding them would change what the upstream sees as one segment.
/// Canonical of canonical is the same.
pub fn canonical_path(path: &[u8], out: &mut String) -> Result<(), PathError> {
    if path.first() != Some(&b'/') {
        return Err(PathError::Relative);
    }
    let start = out.len();
    // What is canonical is ASCII.
    if let (true, Ok(path)) = (is_canonical(path), std::str::from_utf8(path)) {
        out.push_str(path);
        return Ok(());
    }
    let mut at = 0;
    while at < path.len() {
        let byte = path[at];
        at += 1;
        match byte {
            b'%' => {
                let hex = path.get(at..at + 2).ok_or(PathError::Encoding)?;
                let value = (digit(hex[0])? << 4) | digit(hex[1])?;
                at += 2;
                match value {
                    0 => return Err(PathError::Byte),
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(value as char),
                    _ => {
                        out.push('%');
                        out.push(hex[0].to_ascii_uppercase() as char);
                        out.push(hex[1].to_ascii_uppercase() as char);
                    }
                }
            }
            b'/' | b'\\' => end_segment(out, start)?,
            b'#' | b'?' | 0..=b' ' | 0x7f..=0xff => return Err(PathError::Byte),
            _ => out.push(byte as char),
        }
    }
    // A last "." or ".." names a folder: resolve it as if a slash followed.
    let last = out[start..].rfind('/').map_or(start, |slash| start + slash + 1);
    if matches!(&out[last..], "." | "..") {
        end_segment(out, start)?;
    }
    Ok(())
}

/// Ends the segment under construction: resolves "." and "..", merges slashes; `out` then ends with one '/'.
fn end_segment(out: &mut String, start: usize) -> Result<(), PathError> {
    if out.len() == start {
        out.push('/');
        return Ok(());
    }
    let slash = start + out[start..].rfind('/').unwrap_or(0);
    match &out[slash + 1..] {
        "" => {}
        "." => out.truncate(slash + 1),
        ".." => {
            if slash == start {
                return Err(PathError::Escape);
            }
            let parent = start + out[start..slash].rfind('/').unwrap_or(0);
            out.truncate(parent + 1);
        }
        _ => out.push('/'),
    }
    Ok(())
}

/// Bytes that may stand in a canonical path wherever they are.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        plain[byte as usize] = !matches!(byte, b'%' | b'\\' | b'#' | b'?' | b'/' | b'.');
        byte += 1;
    }
    plain
};

fn is_canonical(path: &[u8]) -> bool {
    let mut previous = 0;
    path.iter().all(|&byte| {
        // A '.' after '/' may be a dot segment: leave it to the slow way.
        let fine = PLAIN[byte as usize] || (matches!(byte, b'/' | b'.') && previous != b'/');
        previous = byte;
        fine
    })
}

fn digit(byte: u8) -> Result<u8, PathError> {
    (byte as char).to_digit(16).map(|digit| digit as u8).ok_or(PathError::Encoding)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(path: &str) -> Result<String, PathError> {
        let mut out = String::new();
        canonical_path(path.as_bytes(), &mut out).map(|()| out)
    }

    #[test]
    fn a_path_has_one_form() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/", "/a/"),
            ("//a///b//", "/a/b/"),
            ("/a/./b/.", "/a/b/"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/%2e%2E/b", "/b"),
            ("/%61dmin", "/admin"),
            ("/a%2fb", "/a%2Fb"),
            ("/a\\b", "/a/b"),
            ("/a%5cb", "/a%5Cb"),
            ("/a%20b", "/a%20b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("/a;b=c/d", "/a;b=c/d"),
        ] {
            assert_eq!(canonical(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn what_has_no_one_form_is_refused() {
        for (path, error) in [
            ("a", PathError::Relative),
            ("", PathError::Relative),
            ("/..", PathError::Escape),
            ("/a/../../b", PathError::Escape),
            ("/%00", PathError::Byte),
            ("/a b", PathError::Byte),
            ("/a#b", PathError::Byte),
            ("/ä", PathError::Byte),
            ("/%", PathError::Encoding),
            ("/%2", PathError::Encoding),
            ("/%zz", PathError::Encoding),
        ] {
            assert_eq!(canonical(path), Err(error), "{path}");
        }
    }

    proptest! {
        #[test]
        fn canonical_of_canonical_is_the_same(path in "/[a-z./%2eE5cF\\\\]{0,24}") {
            if let Ok(once) = canonical(&path) {
                prop_assert_eq!(canonical(&once), Ok(once.clone()));
                prop_assert!(!once.contains("//") && !once.contains("/./") && !once.contains("/../"));
            }
        }
    }
}
