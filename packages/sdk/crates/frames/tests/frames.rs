//! Calls and verdicts there and back, and what a stranger may write instead.

use bytes::Bytes;
use plait_frames::*;
use proptest::prelude::*;

const SINGLES: [Field; 5] = [Field::Method, Field::Path, Field::PeerIdentity, Field::Body, Field::Candidate];

type Written<'a> = (u8, EffectTag, &'a [u8], &'a [u8]);

fn call_of(fields: &[(usize, Vec<u8>)], pairs: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = CallWriter::default();
    for (field, bytes) in fields {
        writer.bytes(SINGLES[field % SINGLES.len()], bytes);
    }
    for (name, value) in pairs {
        writer.header(Section::Request, name, value);
        writer.attribute(name, "noted");
    }
    writer.number(Field::Port, 8080);
    writer.last();
    let mut frame = Vec::new();
    writer.finish(1 << 32 | 5, Phase::RequestBody, 9, 0b10, &mut frame).expect("small");
    frame
}

fn verdict_frame(outcome: Outcome, plugin: u8, status: u16, effects: &[Written<'_>]) -> Vec<u8> {
    let mut writer = VerdictWriter::default();
    for (plugin, tag, first, value) in effects {
        writer.effect(*plugin, *tag, first, value);
    }
    let mut frame = Vec::new();
    writer.finish(77, Ending { outcome, plugin, status, micros: 12 }, &mut frame).expect("small");
    frame
}

#[test]
fn effects_arrive_in_order_with_their_plugins() {
    let frame = verdict_frame(
        Outcome::Continue,
        NO_PLUGIN,
        0,
        &[
            (0, EffectTag::SetRequestHeader, b"x-a", b"1"),
            (0, EffectTag::RemoveResponseHeader, b"server", b""),
            (2, EffectTag::Path, b"/b", b""),
            (2, EffectTag::Body, b"bytes", b""),
            (3, EffectTag::Label, b"tenant", b"blue"),
            (3, EffectTag::Status, &204u16.to_le_bytes(), b""),
        ],
    );
    let verdict = Verdict::parse(frame.into()).unwrap();
    assert_eq!((verdict.id(), verdict.outcome(), verdict.plugin(), verdict.micros()), (77, Outcome::Continue, None, 12));
    let effects: Vec<_> = verdict.effects().collect();
    assert_eq!(
        effects,
        [
            (0, Effect::SetHeader { section: Section::Request, name: "x-a", value: b"1" }),
            (0, Effect::RemoveHeader { section: Section::Response, name: "server" }),
            (2, Effect::Path("/b")),
            (2, Effect::Body(b"bytes")),
            (3, Effect::Label("tenant", "blue")),
            (3, Effect::Status(204)),
        ]
    );
    assert_eq!(verdict.body(), Some(Bytes::from_static(b"bytes")));
}

#[test]
fn junk_is_refused_with_what_is_wrong() {
    let cases: &[(Outcome, u8, u16, &[Written<'_>])] = &[
        (Outcome::Reply, 0, 99, &[]),
        (Outcome::Reply, NO_PLUGIN, 200, &[]),
        (Outcome::Continue, 1, 0, &[]),
        (Outcome::Error, 64, 0, &[]),
        (Outcome::Continue, NO_PLUGIN, 0, &[(64, EffectTag::Path, b"/", b"")]),
        (Outcome::Continue, NO_PLUGIN, 0, &[(0, EffectTag::SetRequestHeader, b"content-length", b"5")]),
        (Outcome::Continue, NO_PLUGIN, 0, &[(0, EffectTag::AppendResponseHeader, b"x", b"a\r\nb: c")]),
        (Outcome::Continue, NO_PLUGIN, 0, &[(0, EffectTag::Path, b"no-slash", b"")]),
        (Outcome::Continue, NO_PLUGIN, 0, &[(0, EffectTag::Status, b"x", b"")]),
        (Outcome::Deny, 0, 403, &[(0, EffectTag::Text, b"\xff", b"")]),
    ];
    for (outcome, plugin, status, effects) in cases {
        let frame = verdict_frame(*outcome, *plugin, *status, effects);
        assert_eq!(Verdict::id_of(&frame), Some(77));
        assert!(Verdict::parse(frame.into()).is_err(), "{outcome:?} {plugin} {status} {effects:?}");
    }
}

#[test]
fn more_than_a_frame_can_hold_is_said_and_not_cut() {
    let mut writer = CallWriter::default();
    writer.bytes(Field::Body, &vec![0; MAX_FRAME]);
    assert_eq!(writer.finish(1, Phase::Request, 0, 0, &mut Vec::new()), Err(TooLarge));
    writer.clear();
    for _ in 0..70_000 {
        writer.text(Field::Candidate, "");
    }
    assert_eq!(writer.finish(1, Phase::Request, 0, 0, &mut Vec::new()), Err(TooLarge));
}

proptest! {
    #[test]
    fn a_call_arrives_as_it_was_written(
        fields in prop::collection::vec((0usize..5, prop::collection::vec(any::<u8>(), 0..300)), 0..12),
        pairs in prop::collection::vec(("[a-z-]{1,12}", prop::collection::vec(any::<u8>(), 0..60)), 0..12),
    ) {
        let call = CallFrame::parse(call_of(&fields, &pairs)).unwrap();
        prop_assert_eq!((call.id(), call.phase(), call.chain(), call.skip(), call.is_last()), (1 << 32 | 5, Phase::RequestBody, 9, 0b10, true));
        for single in SINGLES {
            let said: Vec<_> = fields.iter().filter(|(field, _)| SINGLES[*field] == single).map(|(_, bytes)| bytes.as_slice()).collect();
            prop_assert_eq!(call.get(single), said.first().copied());
            prop_assert_eq!(call.all(single).collect::<Vec<_>>(), said);
        }
        let read: Vec<_> = call.pairs(PairField::Header(Section::Request)).map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.to_vec())).collect();
        prop_assert_eq!(read, pairs.clone());
        prop_assert_eq!(call.pairs(PairField::Attribute).count(), pairs.len());
        prop_assert_eq!(call.pairs(PairField::Header(Section::Response)).count(), 0);
        prop_assert_eq!(call.number(Field::Port), Some(8080));
    }

    #[test]
    fn bytes_of_a_stranger_are_an_error_or_a_verdict_and_never_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), honest in any::<bool>()) {
        // Most strangers would fail at the length: half of them get that right.
        if honest && bytes.len() >= 4 {
            let length = bytes.len() as u32;
            bytes[..4].copy_from_slice(&length.to_le_bytes());
        }
        if let Ok(verdict) = Verdict::parse(bytes.clone().into()) {
            let _ = (verdict.effects().count(), verdict.body(), verdict.text());
        }
        if let Ok(call) = CallFrame::parse(bytes) {
            let _ = (call.pairs(PairField::Attribute).count(), call.get(Field::Body), call.number(Field::Port));
        }
    }

    #[test]
    fn a_changed_byte_is_an_error_or_a_sound_verdict(at in 0usize..400, to in any::<u8>()) {
        let mut frame = verdict_frame(Outcome::Deny, 1, 403, &[(0, EffectTag::SetRequestHeader, b"x-a", b"1"), (1, EffectTag::Text, b"no", b"")]);
        let at = at % frame.len();
        frame[at] = to;
        if let Ok(verdict) = Verdict::parse(frame.into()) {
            prop_assert!(verdict.effects().all(|(plugin, _)| usize::from(plugin) < MAX_PLUGINS));
        }
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_frames(cuts in prop::collection::vec(1usize..40, 1..60), count in 1usize..6) {
        let frames: Vec<_> = (0..count).map(|n| call_of(&[(n, vec![7; n * 11])], &[])).collect();
        let bytes = frames.concat();
        let (mut splitter, mut seen, mut frame, mut rest) = (Splitter::default(), Vec::new(), Vec::new(), bytes.as_slice());
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            splitter.extend(now);
            while splitter.next(&mut frame).unwrap() {
                seen.push(frame.clone());
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(seen, frames);
    }
}
