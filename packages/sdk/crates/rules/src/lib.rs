//! Patterns as every part of Plait compiles them: the proxy when it applies configuration, the control plane when it checks it.
//! Size-limited, linear-time, matched against the whole value. No I/O, nothing of ours below it.

use std::fmt;

/// A pattern that compiled may take at most this much memory: one tenant's pattern can never hurt another.
pub const PATTERN_BYTES: usize = 256 * 1024;

/// The longest source of a pattern.
pub const PATTERN_LENGTH: usize = 1024;

/// A regular expression (syntax of the `regex` crate, RE2-like) that must match the whole value.
#[derive(Clone)]
pub struct Pattern {
    source: Box<str>,
    regex: regex::Regex,
}

/// Why a pattern is refused, for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Longer than [`PATTERN_LENGTH`].
    #[error("the pattern is {0} characters long; at most {PATTERN_LENGTH} are allowed")]
    TooLong(usize),
    /// Larger than [`PATTERN_BYTES`] when compiled.
    #[error("the pattern is too large when compiled; use smaller repetitions")]
    TooLarge,
    /// Not a regular expression.
    #[error("not a regular expression: {0}")]
    Syntax(String),
}

impl Pattern {
    /// Compiles `source`, or says why not.
    pub fn new(source: &str) -> Result<Self, PatternError> {
        let length = source.chars().count();
        if length > PATTERN_LENGTH {
            return Err(PatternError::TooLong(length));
        }
        // Parsed alone first: a source such as "a)(b" must not become valid by the group around it.
        let compile = |text: &str| {
            regex::RegexBuilder::new(text).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES).build().map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
                other => PatternError::Syntax(last_line(&other)),
            })
        };
        compile(source)?;
        Ok(Self { source: source.into(), regex: compile(&format!("^(?:{source})$"))? })
    }

    /// True when the whole of `value` matches.
    pub fn is_match(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }

    /// The source as the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.source)
    }
}

/// The library draws the pattern with carets over several lines; its last line says what is wrong.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_value() {
        let pattern = Pattern::new("/v[12]|/beta").unwrap();
        for (value, expected) in
            [("/v1", true), ("/v2", true), ("/beta", true), ("/v1x", false), ("x/v1", false), ("/betax", false), ("/v1\n", false)]
        {
            assert_eq!(pattern.is_match(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_bad_pattern_is_refused_with_a_reason() {
        assert!(matches!(Pattern::new("("), Err(PatternError::Syntax(_))));
        assert!(matches!(Pattern::new("a)(b"), Err(PatternError::Syntax(_))));
        assert_eq!(Pattern::new("(a{1000}){1000}").unwrap_err(), PatternError::TooLarge);
        assert_eq!(Pattern::new(&"a".repeat(2000)).unwrap_err(), PatternError::TooLong(2000));
    }
}
