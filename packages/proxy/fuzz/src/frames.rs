//! What a plugin worker may write, and a proxy: any bytes are an error or a sound frame, and no memory that a stranger scribbles over does harm.

use std::{
    fs::File,
    os::{fd::AsFd, unix::fs::FileExt},
    sync::Arc,
};

use plait_frames::{
    CallFrame, Consumer, Direction, Effect, Field, MAX_PLUGINS, Map, PairField, Producer, Section, Verdict, check_header_name,
    check_header_value,
};

const RING: usize = 4096;

/// A verdict of arbitrary bytes is refused, or all its effects are such that the proxy may act on them.
pub fn frames_verdict(input: &[u8]) {
    let Ok(verdict) = Verdict::parse(input.to_vec().into()) else { return };
    assert_eq!(Some(verdict.id()), Verdict::id_of(input));
    assert!(verdict.plugin().is_none_or(|plugin| usize::from(plugin) < MAX_PLUGINS));
    for (plugin, effect) in verdict.effects() {
        assert!(usize::from(plugin) < MAX_PLUGINS);
        if let Effect::SetHeader { name, value, .. } | Effect::AppendHeader { name, value, .. } | Effect::ReplyHeader(name, value) = effect
        {
            assert!(check_header_name(name.as_bytes()).is_ok() && check_header_value(value).is_ok());
        }
    }
    assert!(verdict.body().is_none_or(|body| body.len() <= input.len()));
}

/// A call of arbitrary bytes is refused, or reads to its end.
pub fn frames_call(input: &[u8]) {
    let Ok(call) = CallFrame::parse(input.to_vec()) else { return };
    let read: usize = call.pairs(PairField::Header(Section::Request)).map(|(name, value)| name.len() + value.len()).sum();
    assert!(read + call.get(Field::Body).map_or(0, <[u8]>::len) <= input.len());
    let _ = (call.number(Field::Port), call.all(Field::Candidate).count(), call.is_last(), call.skip(), call.chain());
}

/// Each ten bytes are one stroke over the memory: which word, and what. Between strokes the proxy reads and writes as ever.
pub fn frames_ring(input: &[u8]) {
    let Ok((map, memory)) = Map::create(RING) else { return };
    let map = Arc::new(map);
    let (mut producer, mut consumer) = (Producer::new(map.clone(), Direction::Calls), Consumer::new(map.clone(), Direction::Verdicts));
    let theirs = File::from(memory.as_fd().try_clone_to_owned().expect("another descriptor"));
    let words = (4096 + 2 * RING as u64) / 8;
    let (mut frame, own) = (Vec::new(), [100, 0, 0, 0].repeat(25));
    for stroke in input.as_chunks::<10>().0 {
        let word = u64::from(u16::from_le_bytes([stroke[0], stroke[1]])) % words;
        theirs.write_all_at(&stroke[2..], word * 8).expect("inside");
        let _ = (producer.push(&own), producer.publish(), consumer.arm(), map.marked(), map.begun());
        while consumer.next(&mut frame).unwrap_or(false) {
            assert!(frame.len() <= RING);
            frames_verdict(&frame);
        }
        consumer.release();
    }
}
