//! Records: the typed keys and values of topics and tables.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;

use serde::{Serialize, de::DeserializeOwned};

use crate::codec::{self, Presence};
use crate::error::{CodecError, Invalid};
use crate::time::Timestamp;

/// A type that can be the value of a topic or table.
///
/// Implement it with `#[derive(Record)]`. Strings and bytes are raw, everything else is JSON; [`Option`] may be null.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the value of a topic or table",
    label = "not a record",
    note = "add `#[derive(Record)]` to `{Self}`; bytes are `Vec<u8>`, untyped JSON is `serde_json::Value`, a value that may be null \
            is `Option<T>`"
)]
pub trait Value: Serialize + DeserializeOwned + 'static {
    /// The type's name as people see it.
    fn type_name() -> Cow<'static, str>;

    /// Whether, as a key, it is nothing but the bytes that it hashes, and encodes to the same: text and byte strings.
    #[doc(hidden)]
    const RAW: bool = false;

    /// The value's own rules. Checked after decoding and before encoding, of the value and of what the containers here hold, but
    /// not of a record's fields.
    fn validate(&self) -> Result<(), Invalid> {
        Ok(())
    }

    #[doc(hidden)]
    fn encode(&self, out: &mut Vec<u8>) -> Result<Presence, CodecError> {
        codec::encode_json(self, out)
    }

    #[doc(hidden)]
    fn decode(bytes: Option<&[u8]>) -> Result<Self, CodecError> {
        codec::decode_json(bytes)
    }

    /// Whether it encodes to null: as a table's row it is none.
    #[doc(hidden)]
    fn is_null(&self) -> bool {
        false
    }

    /// As the key of a record.
    #[doc(hidden)]
    fn encode_key(&self, out: &mut Vec<u8>) -> Result<Presence, CodecError> {
        self.encode(out)
    }
}

/// A value that can be a key: it also compares and hashes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a key",
    label = "not a key",
    note = "a key needs `#[derive(Record, Clone, PartialEq, Eq, Hash)]`; floats can't be keys; no key is `()`, a key that may be null \
            is `Option<K>`"
)]
pub trait Key: Value + Clone + Eq + Hash {}

impl<T: Value + Clone + Eq + Hash> Key for T {}

/// A struct or enum; implement it with `#[derive(Record)]`.
pub trait Record: Value {
    /// The record's name across programs: `module::Type` unless `#[record(namespace = "..")]` says otherwise.
    const NAMESPACE: &'static str;
    /// The named fields of a struct, in order.
    const FIELDS: &'static [Field];
}

/// A field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// As it is called in Rust.
    pub name: &'static str,
    /// Whether a record without it doesn't decode.
    pub required: bool,
}

macro_rules! json {
    ($($t:ty),*) => {$(
        impl Value for $t {
            fn type_name() -> Cow<'static, str> {
                stringify!($t).into()
            }
        }
    )*};
}

// No `u8`: `Vec<u8>` is bytes, and would also be a list of values.
json!(bool, char, i8, i16, i32, i64, i128, u16, u32, u64, u128, f32, f64, Timestamp);

impl Value for serde_json::Value {
    fn type_name() -> Cow<'static, str> {
        "JSON".into()
    }
}

impl Value for String {
    const RAW: bool = true;

    fn type_name() -> Cow<'static, str> {
        "String".into()
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<Presence, CodecError> {
        out.extend_from_slice(self.as_bytes());
        Ok(Presence::Bytes)
    }

    fn decode(bytes: Option<&[u8]>) -> Result<Self, CodecError> {
        let text = std::str::from_utf8(codec::present(bytes)?).map_err(|error| {
            CodecError::Decode(format!("is not UTF-8 from byte {} on; use Vec<u8> for bytes", error.valid_up_to()))
        })?;
        Ok(text.to_string())
    }
}

impl Value for Vec<u8> {
    const RAW: bool = true;

    fn type_name() -> Cow<'static, str> {
        "bytes".into()
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<Presence, CodecError> {
        out.extend_from_slice(self);
        Ok(Presence::Bytes)
    }

    fn decode(bytes: Option<&[u8]>) -> Result<Self, CodecError> {
        Ok(codec::present(bytes)?.to_vec())
    }
}

/// As a value nothing worth reading, so whatever comes is taken. As a key no key: null.
impl Value for () {
    fn type_name() -> Cow<'static, str> {
        "()".into()
    }

    fn encode(&self, _: &mut Vec<u8>) -> Result<Presence, CodecError> {
        Ok(Presence::Bytes)
    }

    fn decode(_: Option<&[u8]>) -> Result<Self, CodecError> {
        Ok(())
    }

    fn encode_key(&self, _: &mut Vec<u8>) -> Result<Presence, CodecError> {
        Ok(Presence::Null)
    }
}

/// `None` is null.
impl<T: Value> Value for Option<T> {
    fn type_name() -> Cow<'static, str> {
        format!("Option<{}>", T::type_name()).into()
    }

    fn validate(&self) -> Result<(), Invalid> {
        self.as_ref().map_or(Ok(()), T::validate)
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<Presence, CodecError> {
        self.as_ref().map_or(Ok(Presence::Null), |value| value.encode(out))
    }

    fn decode(bytes: Option<&[u8]>) -> Result<Self, CodecError> {
        bytes.map(|bytes| T::decode(Some(bytes))).transpose()
    }

    fn is_null(&self) -> bool {
        self.as_ref().is_none_or(T::is_null)
    }
}

impl<T: Value> Value for Box<T> {
    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn validate(&self) -> Result<(), Invalid> {
        T::validate(self)
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<Presence, CodecError> {
        T::encode(self, out)
    }

    fn decode(bytes: Option<&[u8]>) -> Result<Self, CodecError> {
        T::decode(bytes).map(Box::new)
    }

    fn is_null(&self) -> bool {
        T::is_null(self)
    }

    fn encode_key(&self, out: &mut Vec<u8>) -> Result<Presence, CodecError> {
        T::encode_key(self, out)
    }
}

impl<T: Value> Value for Vec<T> {
    fn type_name() -> Cow<'static, str> {
        format!("Vec<{}>", T::type_name()).into()
    }

    fn validate(&self) -> Result<(), Invalid> {
        self.iter().try_for_each(T::validate)
    }
}

impl<T: Value + Eq + Hash> Value for HashSet<T> {
    fn type_name() -> Cow<'static, str> {
        format!("HashSet<{}>", T::type_name()).into()
    }

    fn validate(&self) -> Result<(), Invalid> {
        self.iter().try_for_each(T::validate)
    }
}

impl<T: Value + Ord> Value for BTreeSet<T> {
    fn type_name() -> Cow<'static, str> {
        format!("BTreeSet<{}>", T::type_name()).into()
    }

    fn validate(&self) -> Result<(), Invalid> {
        self.iter().try_for_each(T::validate)
    }
}

impl<T: Value> Value for HashMap<String, T> {
    fn type_name() -> Cow<'static, str> {
        format!("HashMap<String, {}>", T::type_name()).into()
    }

    fn validate(&self) -> Result<(), Invalid> {
        self.values().try_for_each(T::validate)
    }
}

impl<T: Value> Value for BTreeMap<String, T> {
    fn type_name() -> Cow<'static, str> {
        format!("BTreeMap<String, {}>", T::type_name()).into()
    }

    fn validate(&self) -> Result<(), Invalid> {
        self.values().try_for_each(T::validate)
    }
}

impl<A: Value, B: Value> Value for (A, B) {
    fn type_name() -> Cow<'static, str> {
        format!("({}, {})", A::type_name(), B::type_name()).into()
    }

    fn validate(&self) -> Result<(), Invalid> {
        self.0.validate()?;
        self.1.validate()
    }
}

impl<A: Value, B: Value, C: Value> Value for (A, B, C) {
    fn type_name() -> Cow<'static, str> {
        format!("({}, {}, {})", A::type_name(), B::type_name(), C::type_name()).into()
    }

    fn validate(&self) -> Result<(), Invalid> {
        self.0.validate()?;
        self.1.validate()?;
        self.2.validate()
    }
}
