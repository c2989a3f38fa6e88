//! Cookies of a request, as `hash` and `session` look for them.

use plait_model::RequestHead;

/// Every value of the cookies of that name, in order.
pub(crate) fn values<'h>(head: &'h RequestHead, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    head.headers.all("cookie").flat_map(|field| field.split(|byte| *byte == b';')).filter_map(move |pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value)
    })
}
