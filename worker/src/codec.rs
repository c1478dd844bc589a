//! From values to bytes and back, as the engine does it: the type's own form, and its rules checked on both ways.
//!
//! The default form is raw for strings and bytes and JSON for everything else, for keys and values alike, so that Kafka's own tools
//! can read what lies in a topic. Null (Kafka's, not JSON's) is `None`; an empty key is not a null key.

use crate::error::CodecError;
use crate::model::{Key, Value};

/// What a value became.
#[doc(hidden)]
#[must_use = "null is not the same as no bytes"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Bytes, of which there may be none.
    Bytes,
    /// Kafka's null. Nothing was written.
    Null,
}

/// Appends the bytes of a record's value, or of anything else that isn't a key. Nothing is appended on an error.
pub(crate) fn encode_value<V: Value>(value: &V, out: &mut Vec<u8>) -> Result<Presence, CodecError> {
    checked(value, out, V::encode)
}

/// Appends the bytes of a record's key. `()` is no key at all, so null, where as a value it is only empty.
pub(crate) fn encode_key<K: Key>(key: &K, out: &mut Vec<u8>) -> Result<Presence, CodecError> {
    checked(key, out, K::encode_key)
}

/// Appends the bytes of a table row's key. A row always has a key: the changelog is compacted, and Kafka refuses null keys there.
pub(crate) fn encode_row_key<K: Key>(key: &K, out: &mut Vec<u8>) -> Result<(), CodecError> {
    match encode_value(key, out)? {
        Presence::Bytes => Ok(()),
        Presence::Null => Err(CodecError::Encode("a row's key can't be null".into())),
    }
}

/// The value (or key) that these bytes stand for; `None` is null.
pub(crate) fn decode_value<V: Value>(bytes: Option<&[u8]>) -> Result<V, CodecError> {
    let value = V::decode(bytes)?;
    value.validate().map_err(CodecError::Invalid)?;
    Ok(value)
}

fn checked<V: Value>(
    value: &V,
    out: &mut Vec<u8>,
    encode: fn(&V, &mut Vec<u8>) -> Result<Presence, CodecError>,
) -> Result<Presence, CodecError> {
    value.validate().map_err(CodecError::Invalid)?;
    let start = out.len();
    let encoded = encode(value, out);
    if encoded.is_err() {
        out.truncate(start);
    }
    encoded
}

pub(crate) fn encode_json<T: serde::Serialize>(value: &T, out: &mut Vec<u8>) -> Result<Presence, CodecError> {
    serde_json::to_writer(out, value).map_err(|error| CodecError::Encode(error.to_string()))?;
    Ok(Presence::Bytes)
}

pub(crate) fn decode_json<T: serde::de::DeserializeOwned>(bytes: Option<&[u8]>) -> Result<T, CodecError> {
    serde_json::from_slice(present(bytes)?).map_err(|error| CodecError::Decode(error.to_string()))
}

/// The bytes, or the error that says how to allow for null.
pub(crate) fn present(bytes: Option<&[u8]>) -> Result<&[u8], CodecError> {
    bytes.ok_or_else(|| CodecError::Decode("is null; use Option<T> where null may come".into()))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::fmt::Debug;

    use proptest::prelude::*;

    use super::*;
    use crate::{Invalid, Record, Timestamp};

    fn bytes_of<V: Value>(value: &V) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match encode_value(value, &mut out).unwrap() {
            Presence::Bytes => Some(out),
            Presence::Null => None,
        }
    }

    fn assert_is<V: Value + PartialEq + Debug>(value: V, bytes: &[u8]) {
        assert_eq!(bytes_of(&value).as_deref(), Some(bytes));
        assert_eq!(decode_value::<V>(Some(bytes)).unwrap(), value);
    }

    #[derive(Record, Clone, Debug, PartialEq, Eq, Hash)]
    struct UserId(String);

    #[derive(Record, Clone, Debug, PartialEq, Eq, Hash)]
    struct Digest(Vec<u8>);

    #[derive(Record, Clone, Debug, PartialEq)]
    #[record(validate = Share::check)]
    struct Share {
        percent: u8,
    }

    impl Share {
        fn check(&self) -> Result<(), Invalid> {
            if self.percent <= 100 { Ok(()) } else { Err(Invalid::new("more than all of it")) }
        }
    }

    #[test]
    fn strings_and_bytes_are_raw_and_the_rest_is_json() {
        assert_is("grüß \"dich\" 🦀".to_string(), "grüß \"dich\" 🦀".as_bytes());
        assert_is(vec![0u8, 255], &[0, 255]);
        assert_is(UserId("7".into()), b"7");
        assert_is(Digest(vec![9]), &[9]);
        assert_is(7u64, b"7");
        assert_is(Timestamp(-1), b"-1");
        assert_is((1i64, "a".to_string()), br#"[1,"a"]"#);
        assert_is(vec!["ä".to_string()], r#"["ä"]"#.as_bytes());
        assert_is(Share { percent: 3 }, br#"{"percent":3}"#);
        assert_is(Box::new("boxed".to_string()), b"boxed");
        assert_is(serde_json::json!({"a": null}), br#"{"a":null}"#);
        assert_is(BTreeMap::from([("k".to_string(), 1u64)]), br#"{"k":1}"#);
        assert_is(HashMap::from([("k".to_string(), true)]), br#"{"k":true}"#);
    }

    #[test]
    fn null_is_none_and_nothing_else() {
        assert_eq!(bytes_of(&None::<String>), None);
        assert_eq!(decode_value::<Option<String>>(None).unwrap(), None);
        assert_is(Some(String::new()), b"");
        assert_is(Some(5u64), b"5");
        let refused = decode_value::<u64>(None).unwrap_err().to_string();
        assert_eq!(refused, "can't be decoded: is null; use Option<T> where null may come");
        assert!(decode_value::<String>(None).is_err() && decode_value::<Vec<u8>>(None).is_err());
    }

    #[test]
    fn an_empty_key_is_not_a_null_key_and_no_key_is_null() {
        let mut out = Vec::new();
        assert_eq!(encode_key(&String::new(), &mut out), Ok(Presence::Bytes));
        assert_eq!(encode_key(&(), &mut out), Ok(Presence::Null));
        assert_eq!(encode_key(&None::<String>, &mut out), Ok(Presence::Null));
        assert_eq!(encode_row_key(&String::new(), &mut out), Ok(()));
        assert_eq!(
            encode_row_key(&None::<String>, &mut out).unwrap_err().to_string(),
            "can't be encoded: a row's key can't be null"
        );
        assert_eq!(out, b"");
    }

    #[test]
    fn the_unit_is_empty_as_a_value_and_takes_whatever_comes() {
        assert_is((), b"");
        assert_eq!(decode_value::<()>(Some(b"anything")), Ok(()));
        assert_eq!(decode_value::<()>(None), Ok(()));
    }

    #[test]
    fn a_record_is_validated_on_both_ways_also_inside_of_containers() {
        let invalid = CodecError::Invalid(Invalid::new("more than all of it"));
        let mut out = b"before".to_vec();
        assert_eq!(encode_value(&Share { percent: 101 }, &mut out), Err(invalid.clone()));
        assert_eq!(encode_value(&vec![Share { percent: 101 }], &mut out), Err(invalid.clone()));
        assert_eq!(out, b"before");
        assert_eq!(decode_value::<Share>(Some(br#"{"percent":101}"#)), Err(invalid.clone()));
        assert_eq!(decode_value::<Option<Share>>(Some(br#"{"percent":101}"#)), Err(invalid));
    }

    #[test]
    fn a_failed_encode_leaves_nothing_behind() {
        #[derive(Record)]
        struct Bad {
            good: u8,
            #[serde(serialize_with = "refuse")]
            bad: u8,
        }
        fn refuse<S: serde::Serializer>(_: &u8, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
        let mut out = b"before".to_vec();
        assert_eq!(encode_value(&Bad { good: 1, bad: 2 }, &mut out), Err(CodecError::Encode("no".into())));
        assert_eq!(out, b"before");
    }

    #[test]
    fn bytes_that_are_no_text_or_no_json_are_refused_with_the_place() {
        let error = decode_value::<String>(Some(b"ab\xff")).unwrap_err().to_string();
        assert_eq!(error, "can't be decoded: is not UTF-8 from byte 2 on; use Vec<u8> for bytes");
        let error = decode_value::<Share>(Some(b"{}")).unwrap_err().to_string();
        assert_eq!(error, "can't be decoded: missing field `percent` at line 1 column 2");
        assert!(decode_value::<u64>(Some(b"")).is_err());
        assert!(decode_value::<u64>(Some(b"1 2")).is_err());
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes_to_itself(text: String, bytes: Vec<u8>, number: i64, maybe: Option<u64>, pair: (String, bool)) {
            prop_assert_eq!(decode_value::<String>(bytes_of(&text).as_deref()).unwrap(), text);
            prop_assert_eq!(decode_value::<Vec<u8>>(bytes_of(&bytes).as_deref()).unwrap(), bytes);
            prop_assert_eq!(decode_value::<i64>(bytes_of(&number).as_deref()).unwrap(), number);
            prop_assert_eq!(decode_value::<Option<u64>>(bytes_of(&maybe).as_deref()).unwrap(), maybe);
            prop_assert_eq!(decode_value::<(String, bool)>(bytes_of(&pair).as_deref()).unwrap(), pair);
        }
    }
}
