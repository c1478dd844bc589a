//! From librdkafka's property names to [`Security`].
//!
//! Strict: a property that only one of the two clients would follow is refused, and so is one that has no effect. Whoever sets it
//! believes that it protects something.

use std::collections::BTreeMap;
use std::fmt;

use super::{Credentials, Identity, Sasl, ScramHash, SecretFile, Security, Tls, Trust};

/// A property that can't be followed, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidProperty {
    /// Its name. It may be one that is missing.
    pub property: String,
    why: String,
}

const PROTOCOL: &str = "security.protocol";
const MECHANISM: &str = "sasl.mechanism";
const USERNAME: &str = "sasl.username";
const PASSWORD: &str = "sasl.password.file";
const TOKEN: &str = "sasl.oauthbearer.token.file";
const CA_LOCATION: &str = "ssl.ca.location";
const CA_PEM: &str = "ssl.ca.pem";
const CERTIFICATE: &str = "ssl.certificate.location";
const KEY: &str = "ssl.key.location";
const KEY_PASSWORD: &str = "ssl.key.password.file";
const HOST_CHECK: &str = "ssl.endpoint.identification.algorithm";
const CERTIFICATE_CHECK: &str = "enable.ssl.certificate.verification";

const OF_TLS: &str = "security.protocol, ssl.ca.location, ssl.ca.pem, ssl.certificate.location, ssl.key.location, \
                      ssl.key.password.file, ssl.endpoint.identification.algorithm, enable.ssl.certificate.verification";
const OF_SASL: &str = "sasl.mechanism, sasl.username, sasl.password.file, sasl.oauthbearer.token.file";

impl Security {
    /// Whether a client's property is one of those that [`parse`](Self::parse) wants to see: all that look like security.
    pub fn owns(property: &str) -> bool {
        let property = property.to_lowercase();
        ["security.", "ssl", "sasl", "https.", "enable.ssl", "enable.sasl", "oauthbearer"]
            .iter()
            .any(|beginning| property.starts_with(beginning))
    }

    /// Reads librdkafka's properties; those that are none of security's are passed over. No file is opened.
    pub fn parse<'a>(properties: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, InvalidProperty> {
        let mut given = Given(properties.into_iter().filter(|(name, _)| Self::owns(name)).collect());
        // librdkafka has both names.
        if let Some(mechanism) = given.0.remove("sasl.mechanisms")
            && given.0.insert(MECHANISM, mechanism).is_some()
        {
            return Err(refuse("sasl.mechanisms", "is `sasl.mechanism` by another name, and both are given; leave one out"));
        }
        let (tls, sasl) = match given.take(PROTOCOL).map(|protocol| (protocol, protocol.to_lowercase())) {
            None => (false, false),
            Some((shown, protocol)) => match protocol.as_str() {
                "plaintext" => (false, false),
                "ssl" => (true, false),
                "sasl_plaintext" => (false, true),
                "sasl_ssl" => (true, true),
                _ => return Err(refuse(PROTOCOL, format!("is {shown:?}; expected plaintext, ssl, sasl_plaintext or sasl_ssl"))),
            },
        };
        let security =
            Self { tls: if tls { Some(given.tls()?) } else { None }, sasl: if sasl { Some(given.sasl()?) } else { None } };
        match given.0.keys().next() {
            Some(left) => Err(left_over(left, tls, sasl)),
            None => Ok(security),
        }
    }
}

/// What was given and is not taken yet.
struct Given<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Given<'a> {
    fn take(&mut self, property: &str) -> Option<&'a str> {
        self.0.remove(property)
    }

    fn need(&mut self, property: &str, why: &str) -> Result<&'a str, InvalidProperty> {
        self.take(property).filter(|value| !value.is_empty()).ok_or_else(|| refuse(property, format!("is missing: {why}")))
    }

    fn tls(&mut self) -> Result<Tls, InvalidProperty> {
        let trust = match (self.take(CA_LOCATION), self.take(CA_PEM)) {
            (None, None) => Trust::System,
            (Some(location), None) => Trust::Location(location.into()),
            (None, Some(pem)) => Trust::Pem(pem.to_string()),
            (Some(_), Some(_)) => return Err(refuse(CA_PEM, "is given beside `ssl.ca.location`; leave one out")),
        };
        let identity = match (self.take(CERTIFICATE), self.take(KEY)) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(Identity {
                certificate: certificate.into(),
                key: key.into(),
                key_password: self.take(KEY_PASSWORD).map(SecretFile::new),
            }),
            (Some(_), None) => return Err(refuse(KEY, "is missing: a certificate has a key")),
            (None, Some(_)) => return Err(refuse(CERTIFICATE, "is missing: a key has a certificate")),
        };
        Ok(Tls {
            trust,
            identity,
            check_certificate: self.choose(CERTIFICATE_CHECK, "true", "false")?,
            check_host: self.choose(HOST_CHECK, "https", "none")?,
        })
    }

    /// Yes unless told otherwise.
    fn choose(&mut self, property: &str, yes: &str, no: &str) -> Result<bool, InvalidProperty> {
        match self.take(property) {
            None => Ok(true),
            Some(value) if value == yes => Ok(true),
            Some(value) if value == no => Ok(false),
            Some(value) => Err(refuse(property, format!("is {value:?}; expected {yes} or {no}"))),
        }
    }

    fn sasl(&mut self) -> Result<Sasl, InvalidProperty> {
        let mechanism = self.need(MECHANISM, "one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER")?;
        let sasl = match mechanism {
            "PLAIN" => Sasl::Plain(self.credentials()?),
            "SCRAM-SHA-256" => Sasl::Scram(ScramHash::Sha256, self.credentials()?),
            "SCRAM-SHA-512" => Sasl::Scram(ScramHash::Sha512, self.credentials()?),
            "OAUTHBEARER" => Sasl::OAuthBearer(SecretFile::new(self.need(TOKEN, "the path of a file with the token")?)),
            other => {
                let expected = "expected PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER";
                return Err(refuse(MECHANISM, format!("is {other:?}, which is not supported; {expected}")));
            }
        };
        Ok(sasl)
    }

    fn credentials(&mut self) -> Result<Credentials, InvalidProperty> {
        let username = self.need(USERNAME, "the mechanism has a user and a password")?.to_string();
        let password = SecretFile::new(self.need(PASSWORD, "the path of a file with the password")?);
        Ok(Credentials { username, password })
    }
}

/// Why a property that nobody took can't be followed.
fn left_over(property: &str, tls: bool, sasl: bool) -> InvalidProperty {
    let file = |instead: &str| {
        format!("would be seen by whoever sees the settings: write it into a file and give its path as `{instead}`")
    };
    let why = match property {
        "sasl.password" => file(PASSWORD),
        "ssl.key.password" => file(KEY_PASSWORD),
        "ssl.key.pem" | "ssl_key" => file(KEY),
        "ssl.certificate.pem" | "ssl_certificate" => format!("is not supported: give the path of a file as `{CERTIFICATE}`"),
        _ if property.starts_with("ssl.keystore.") => {
            format!("is not supported: take `{CERTIFICATE}` and `{KEY}`, in PEM; `openssl pkcs12 -in FILE` converts a store")
        }
        _ if property.starts_with("sasl.kerberos.") => {
            "belongs to GSSAPI, which is not supported; take SCRAM or OAUTHBEARER".to_string()
        }
        TOKEN if sasl => "belongs to OAUTHBEARER, and `sasl.mechanism` is another one".to_string(),
        USERNAME | PASSWORD if sasl => "is of no use for OAUTHBEARER: the token says who comes".to_string(),
        KEY_PASSWORD if tls => format!("is given without `{KEY}`"),
        MECHANISM | USERNAME | PASSWORD | TOKEN => {
            format!("has no effect unless `{PROTOCOL}` is sasl_ssl or sasl_plaintext")
        }
        CA_LOCATION | CA_PEM | CERTIFICATE | KEY | KEY_PASSWORD | HOST_CHECK | CERTIFICATE_CHECK => {
            format!("has no effect unless `{PROTOCOL}` is ssl or sasl_ssl")
        }
        _ if property.contains("oauthbearer") || property.contains("https.") => {
            format!("is not supported: the token is read from `{TOKEN}`, which somebody else keeps fresh")
        }
        _ => format!("would hold for a part of the worker's connections only; those that hold for all are {OF_TLS}, {OF_SASL}"),
    };
    refuse(property, why)
}

fn refuse(property: &str, why: impl Into<String>) -> InvalidProperty {
    InvalidProperty { property: property.to_string(), why: why.into() }
}

impl fmt::Display for InvalidProperty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.property, self.why)
    }
}

impl std::error::Error for InvalidProperty {}
