//! A verdict: how the plugins of a chain answered one call.

use bytes::Bytes;

use crate::{
    Effect, EffectTag, FrameError,
    call::VALUE,
    effect::check_status,
    table::{self, Builder, TooLarge},
};

const HEAD: usize = 24;
/// The index of no plugin.
pub const NO_PLUGIN: u8 = 255;

/// How a call ended in the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// The request goes on, with the effects.
    Continue = 0,
    /// The plugin answers the request itself: status, `ReplyHeader`s, `Body`.
    Reply = 1,
    /// The plugin refuses the request: status and `Text`.
    Deny = 2,
    /// The plugin failed: `Text` and `Traceback`.
    Error = 3,
}

/// How a call ended, in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// In what way.
    pub outcome: Outcome,
    /// Who ended the chain, or `NO_PLUGIN`.
    pub plugin: u8,
    /// What `Reply` and `Deny` answer with.
    pub status: u16,
    /// How long its hooks took, from the first that was entered; the worker's word.
    pub micros: u32,
}

/// A verdict in the making.
#[derive(Debug, Default)]
pub struct VerdictWriter {
    builder: Builder,
    plugin: Option<u8>,
}

impl VerdictWriter {
    /// Forgets what was written.
    pub fn clear(&mut self) {
        self.builder.clear();
        self.plugin = None;
    }

    /// Adds an effect of `plugin`; `value` counts only where the effect has one.
    pub fn effect(&mut self, plugin: u8, tag: EffectTag, first: &[u8], value: &[u8]) {
        if self.plugin != Some(plugin) {
            self.plugin = Some(plugin);
            self.builder.put(EffectTag::Plugin as u8, &[plugin]);
        }
        self.builder.put(tag as u8, first);
        if tag.has_value() {
            self.builder.put(VALUE, value);
        }
    }

    /// Appends the frame to `out`.
    pub fn finish(&self, id: u64, ending: Ending, out: &mut Vec<u8>) -> Result<(), TooLarge> {
        let mut head = [0; HEAD - 4];
        head[0] = ending.outcome as u8;
        head[1] = ending.plugin;
        head[2..4].copy_from_slice(&ending.status.to_le_bytes());
        head[4..12].copy_from_slice(&id.to_le_bytes());
        head[16..20].copy_from_slice(&ending.micros.to_le_bytes());
        head[12..14].copy_from_slice(&(self.builder.count() as u16).to_le_bytes());
        self.builder.finish(&head, out)
    }
}

/// A verdict whose every effect was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    frame: Bytes,
    outcome: Outcome,
    plugin: u8,
    status: u16,
    count: usize,
}

impl Verdict {
    /// The call that a frame answers, whatever else is wrong with it.
    pub fn id_of(frame: &[u8]) -> Option<u64> {
        frame.get(8..)?.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// Takes a frame in which everything is sound.
    pub fn parse(frame: Bytes) -> Result<Self, FrameError> {
        let head = frame.first_chunk::<HEAD>().ok_or(FrameError::Length)?;
        let outcome = match head[4] {
            0 => Outcome::Continue,
            1 => Outcome::Reply,
            2 => Outcome::Deny,
            3 => Outcome::Error,
            _ => return Err(FrameError::Unknown("outcome")),
        };
        let plugin = head[5];
        let status = u16::from_le_bytes([head[6], head[7]]);
        if matches!(outcome, Outcome::Reply | Outcome::Deny) {
            check_status(status)?;
        }
        if plugin != NO_PLUGIN && usize::from(plugin) >= crate::MAX_PLUGINS || (plugin == NO_PLUGIN) != (outcome == Outcome::Continue) {
            return Err(FrameError::Unknown("plugin"));
        }
        let count = usize::from(u16::from_le_bytes([head[16], head[17]]));
        table::check(&frame, HEAD, count)?;
        let verdict = Self { outcome, plugin, status, count, frame };
        for effect in verdict.checked_effects() {
            effect?;
        }
        Ok(verdict)
    }

    /// The call that it answers.
    pub fn id(&self) -> u64 {
        Self::id_of(&self.frame).unwrap_or_default()
    }

    /// How the call ended.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Who ended the chain: the index in it. None when all went on.
    pub fn plugin(&self) -> Option<u8> {
        (self.plugin != NO_PLUGIN).then_some(self.plugin)
    }

    /// The status of a `Reply` or `Deny`.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// How long the hooks took, as the worker says.
    pub fn micros(&self) -> u32 {
        self.frame.get(20..).and_then(|rest| rest.first_chunk::<4>()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// The effects in order, each with the index of its plugin.
    pub fn effects(&self) -> impl Iterator<Item = (u8, Effect<'_>)> {
        self.checked_effects().map_while(Result::ok)
    }

    /// The last `Body`, without a copy.
    pub fn body(&self) -> Option<Bytes> {
        let body = self.effects().filter_map(|(_, effect)| if let Effect::Body(body) = effect { Some(body) } else { None }).last()?;
        Some(self.frame.slice_ref(body))
    }

    /// The first text: the reason of a `Deny`, the message of an `Error`.
    pub fn text(&self) -> Option<&str> {
        self.effects().find_map(|(_, effect)| if let Effect::Text(text) = effect { Some(text) } else { None })
    }

    fn checked_effects(&self) -> impl Iterator<Item = Result<(u8, Effect<'_>), FrameError>> {
        let mut entries = table::entries(&self.frame, HEAD, self.count);
        let mut plugin = None;
        std::iter::from_fn(move || {
            loop {
                let (tag, first) = entries.next()?;
                match next_effect(tag, first, &mut entries) {
                    Ok(Effect::Plugin(index)) => plugin = Some(index),
                    Ok(effect) => return Some(plugin.map(|index| (index, effect)).ok_or(FrameError::Unknown("plugin"))),
                    Err(error) => return Some(Err(error)),
                }
            }
        })
    }
}

fn next_effect<'a>(tag: u8, first: &'a [u8], entries: &mut impl Iterator<Item = table::Entry<'a>>) -> Result<Effect<'a>, FrameError> {
    let tag = EffectTag::from_number(tag).ok_or(FrameError::Unknown("effect"))?;
    let value = match tag.has_value().then(|| entries.next()) {
        None => &[][..],
        Some(Some((VALUE, value))) => value,
        Some(_) => return Err(FrameError::Table),
    };
    Effect::checked(tag, first, value)
}
