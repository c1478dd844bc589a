//! The bearer token, as librdkafka wants it: with the time until which it counts, and whose it is.

use std::ffi::{CString, c_char};
use std::ptr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use faust_wire::SecretFile;
use rdkafka::bindings as ffi;
use serde::Deserialize;

use super::errors::text;
use crate::rt;

/// Until a token is read again that doesn't say how long it counts.
const OPAQUE_MILLIS: i64 = 5 * 60 * 1_000;

/// For a token that names nobody. Brokers go by the token itself.
const NOBODY: &str = "faust";

#[derive(Debug, PartialEq, Eq)]
struct Claims {
    /// In milliseconds since the epoch.
    expires: i64,
    subject: String,
}

impl Claims {
    /// What a JWT (RFC 7519) says of itself, unverified: that is the broker's business. Others are taken to count for a while.
    fn of(token: &str, now: i64) -> Self {
        #[derive(Default, Deserialize)]
        struct Payload {
            exp: Option<f64>,
            sub: Option<String>,
        }
        let payload = token.split('.').nth(1).and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok());
        let payload: Payload = payload.and_then(|payload| serde_json::from_slice(&payload).ok()).unwrap_or_default();
        Self {
            expires: payload.exp.map_or(now + OPAQUE_MILLIS, |seconds| (seconds * 1_000.0) as i64),
            subject: payload.sub.filter(|subject| !subject.contains('\0')).unwrap_or_else(|| NOBODY.to_string()),
        }
    }
}

/// Gives librdkafka the token that is in the file now. It asks again when four fifths of the token's time are over, and after ten
/// seconds when it got none.
pub(super) fn hand_over(client: *mut ffi::rd_kafka_t, file: &SecretFile) {
    let token = match file.read_token() {
        Ok(token) => token,
        Err(unreadable) => return refuse(client, &unreadable.to_string()),
    };
    let Claims { expires, subject } = Claims::of(token.expose(), rt::wall_millis());
    let mut why = [0 as c_char; 512];
    let token = CString::new(token.expose()).expect("a token has no zero byte");
    let subject = CString::new(subject).expect("checked");
    // SAFETY: the client lives; the strings live during the call, which copies them, and writes at most `why`'s length.
    let code = unsafe {
        ffi::rd_kafka_oauthbearer_set_token(
            client,
            token.as_ptr(),
            expires,
            subject.as_ptr(),
            ptr::null_mut(),
            0,
            why.as_mut_ptr(),
            why.len(),
        )
    };
    if code != ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        // SAFETY: librdkafka ends what it writes with a zero.
        refuse(client, &format!("the token in {file} is not taken: {}", unsafe { text(why.as_ptr()) }));
    }
}

fn refuse(client: *mut ffi::rd_kafka_t, why: &str) {
    let why = CString::new(why.replace('\0', " ")).expect("no zero byte is left");
    // SAFETY: the client lives, and copies the text.
    unsafe { ffi::rd_kafka_oauthbearer_set_token_failure(client, why.as_ptr()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(payload: &str) -> String {
        format!("e30.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn a_jwt_says_whose_it_is_and_until_when() {
        let claims = Claims::of(&jwt(r#"{"sub":"anna","exp":1900000000,"aud":["kafka"]}"#), 5);
        assert_eq!(claims, Claims { expires: 1_900_000_000_000, subject: "anna".into() });
    }

    #[test]
    fn what_says_nothing_is_read_again_soon() {
        for token in ["opaque", "a.b.c", &jwt("{}"), &jwt(r#"{"exp":"soon"}"#), ""] {
            assert_eq!(Claims::of(token, 5), Claims { expires: 5 + OPAQUE_MILLIS, subject: NOBODY.into() }, "{token}");
        }
    }
}
