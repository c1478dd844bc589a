//! Which version of a request to use, from what the broker said it has.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::{StrBytes, VersionRange};

use crate::error::Error;
use crate::frame;
use crate::request::{OLDEST_KAFKA, Request};

/// The broker's versions, by API key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Versions(BTreeMap<i16, VersionRange>);

impl Versions {
    fn of(response: &ApiVersionsResponse) -> Self {
        let range = |min, max| VersionRange { min, max };
        Self(response.api_keys.iter().map(|api| (api.api_key, range(api.min_version, api.max_version))).collect())
    }

    /// The highest version of `R` that both sides have; else what keeps them apart.
    pub fn pick<R: Request>(&self) -> Result<i16, String> {
        let ours = R::known_versions();
        let needed = format!("Kafka {OLDEST_KAFKA} or later is needed");
        let theirs = self.0.get(&(R::KEY as i16)).ok_or_else(|| format!("the broker doesn't have it; {needed}"))?;
        let both = ours.intersect(theirs);
        if both.is_empty() {
            let advice = if theirs.max < ours.min { format!("; {needed}") } else { String::new() };
            return Err(format!("the broker has {theirs}, this program {ours}{advice}"));
        }
        Ok(both.max)
    }
}

/// What the first answer on a connection leads to.
#[derive(Debug, PartialEq)]
pub(crate) enum Negotiation {
    Agreed(Versions),
    /// The broker is older than the question: ask again in this version.
    AskAgain(i16),
}

/// The first request on every connection.
pub(crate) fn question(version: i16) -> ApiVersionsRequest {
    let request = ApiVersionsRequest::default();
    if version < 3 {
        return request;
    }
    request
        .with_client_software_name(StrBytes::from_static_str("faust-wire"))
        .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")))
}

/// Judges the answer to the question that was asked in `version`.
///
/// A broker that doesn't know the version answers in version 0, so the error, which comes first in all of them, decides how to read
/// the rest. Newer ones list there what they know of ApiVersions; one that doesn't knows at least version 0.
pub(crate) fn judge(answer: Bytes, version: i16) -> Result<Negotiation, Error> {
    let mut error = answer.clone();
    error.advance(size_of::<i32>().min(error.len()));
    let too_new = error.try_get_i16().is_ok_and(|code| code == ResponseError::UnsupportedVersion.code());
    if !too_new {
        let response = frame::decode::<ApiVersionsRequest>(answer, version)?;
        Error::check(ApiVersionsRequest::NAME, response.error_code, "this connection", None)?;
        return Ok(Negotiation::Agreed(Versions::of(&response)));
    }
    let older = match version {
        0 => None,
        _ => {
            let known = frame::decode::<ApiVersionsRequest>(answer, 0).map(|response| Versions::of(&response)).unwrap_or_default();
            match known.0.contains_key(&(ApiKey::ApiVersions as i16)) {
                true => known.pick::<ApiVersionsRequest>().ok().map(|known| known.min(version - 1)),
                false => Some(0),
            }
        }
    };
    older.map(Negotiation::AskAgain).ok_or_else(|| Error::Protocol(format!("the broker refuses ApiVersions version {version}")))
}
