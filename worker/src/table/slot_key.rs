//! The key of a row as its slot holds it: short text and bytes lie in the slot itself, so that comparing them costs no further cache
//! miss, and adding a row no allocation.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use super::KeyRef;
use crate::codec;
use crate::error::CodecError;
use crate::model::Key;

/// As many bytes as make a key 32 bytes long.
const SHORT: usize = 30;

pub(super) enum SlotKey<K> {
    /// Of a key type whose bytes are its identity ([`Value::RAW`](crate::model::Value::RAW)).
    Short(Short),
    Own(K),
}

/// The bytes of a short key, with zeros behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short {
    len: u8,
    bytes: [u8; SHORT],
}

/// What a row is looked up by.
pub(super) struct Probe<'q, Q: ?Sized> {
    pub hash: u64,
    short: Option<Short>,
    key: &'q Q,
}

/// The hash of a row's key by its bytes, of a key type whose bytes are its identity; `None` if the key is not a short one.
pub(super) fn hash_of_bytes(key: &[u8], hasher: &FixedState) -> Option<u64> {
    (key.len() <= SHORT).then(|| hash_short(key, hasher))
}

fn hash_short(bytes: &[u8], hasher: &FixedState) -> u64 {
    let mut hash = hasher.build_hasher();
    hash.write(bytes);
    hash.finish()
}

impl<'q, Q: ?Sized> Probe<'q, Q> {
    pub fn new<K: Key>(key: &'q Q, hasher: &FixedState) -> Self
    where
        Q: KeyRef<K>,
    {
        let short = if K::RAW { Short::of(key) } else { None };
        let hash = short.map_or_else(|| hasher.hash_one(key), |short| short.hash(hasher));
        Self { hash, short, key }
    }

    pub fn is<K>(&self, other: &SlotKey<K>) -> bool
    where
        Q: KeyRef<K>,
    {
        match (other, &self.short) {
            (SlotKey::Short(other), Some(own)) => other == own,
            (SlotKey::Own(other), None) => self.key.is(other),
            // A key is short or it isn't, whoever asks.
            _ => false,
        }
    }

    pub fn to_key<K>(&self) -> SlotKey<K>
    where
        Q: KeyRef<K>,
    {
        self.short.map_or_else(|| SlotKey::Own(self.key.to_key()), SlotKey::Short)
    }
}

impl<K: Key> SlotKey<K> {
    /// The hash that a probe for it has.
    pub fn hash(&self, hasher: &FixedState) -> u64 {
        match self {
            Self::Short(short) => short.hash(hasher),
            Self::Own(key) => hasher.hash_one(key),
        }
    }

    /// Appends the bytes of the row's key.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        match self {
            Self::Short(short) => {
                out.extend_from_slice(short.as_bytes());
                Ok(())
            }
            Self::Own(key) => codec::encode_row_key(key, out),
        }
    }
}

impl Short {
    /// The bytes of a text or of a byte string, if they are few. They are what it feeds to a hasher, and all that a [`KeyRef`] tells.
    fn of<K, Q: KeyRef<K> + ?Sized>(key: &Q) -> Option<Self> {
        let mut bytes = Capture { len: 0, bytes: [0; SHORT] };
        key.hash(&mut bytes);
        (bytes.len <= SHORT).then_some(Self { len: bytes.len as u8, bytes: bytes.bytes })
    }

    fn hash(&self, hasher: &FixedState) -> u64 {
        hash_short(self.as_bytes(), hasher)
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// A hasher that keeps what it is fed, as far as it fits.
struct Capture {
    len: usize,
    bytes: [u8; SHORT],
}

impl Hasher for Capture {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.len += bytes.len();
    }

    /// What ends a text: the length says as much.
    fn write_u8(&mut self, _: u8) {}

    /// The length of a byte string.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        unreachable!("it is asked for the bytes")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn probe<K: Key, Q: KeyRef<K> + ?Sized>(key: &Q) -> (u64, SlotKey<K>, Probe<'_, Q>) {
        let probe = Probe::new::<K>(key, &FixedState::default());
        (probe.hash, probe.to_key(), probe)
    }

    proptest! {
        #[test]
        fn a_text_is_found_as_itself_only_owned_or_borrowed_short_or_long(a in ".{0,20}", b in ".{0,20}") {
            let (hash, slot, _) = probe::<String, str>(&a);
            let (own_hash, own_slot, own) = probe::<String, String>(&a);
            prop_assert!(hash == own_hash && own.is(&slot));
            let (_, _, other) = probe::<String, str>(&b);
            prop_assert_eq!(other.is(&own_slot), a == b);
            let mut bytes = Vec::new();
            slot.encode(&mut bytes).unwrap();
            prop_assert_eq!(bytes, a.as_bytes());
            prop_assert_eq!(matches!(slot, SlotKey::Short(_)), a.len() <= SHORT);
        }

        #[test]
        fn bytes_are_found_as_themselves_only(a: Vec<u8>, b: Vec<u8>) {
            let (hash, slot, _) = probe::<Vec<u8>, [u8]>(&a);
            let (own_hash, _, own) = probe::<Vec<u8>, Vec<u8>>(&a);
            prop_assert!(hash == own_hash && own.is(&slot));
            let (_, _, other) = probe::<Vec<u8>, [u8]>(&b);
            prop_assert_eq!(other.is(&slot), a == b);
        }
    }

    #[test]
    fn zeros_at_the_end_are_part_of_a_key() {
        let (_, slot, _) = probe::<String, str>("a");
        let (_, _, other) = probe::<String, str>("a\0");
        assert!(!other.is(&slot));
    }
}
