//! How a client proves itself to Kafka, and Kafka to it: one value, in librdkafka's names, for our own connections and for
//! librdkafka's.
//!
//! It holds no secret, only the paths of the files that have them; so it can be compared, kept and printed.

mod parse;
mod properties;
mod secret;
#[cfg(test)]
mod tests;
pub(crate) mod tls;

use std::path::PathBuf;

pub use parse::InvalidProperty;
pub use secret::{Secret, SecretFile, Unreadable};

/// What the properties `security.protocol`, `ssl.*` and `sasl.*` say. The default is plain text, and nobody proves anything.
///
/// ```
/// use faust_wire::Security;
///
/// let security = Security::parse([
///     ("security.protocol", "sasl_ssl"),
///     ("sasl.mechanism", "SCRAM-SHA-512"),
///     ("sasl.username", "page-views"),
///     ("sasl.password.file", "/run/secrets/kafka/password"),
/// ]);
/// assert!(security.is_ok());
/// assert!(Security::parse([("sasl.password", "hunter2")]).is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// `None` is plain text.
    pub tls: Option<Tls>,
    /// `None` is nobody, or whoever the certificate names.
    pub sasl: Option<Sasl>,
}

/// The broker's certificate is checked, and so is its name, unless told otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub trust: Trust,
    /// What this client shows when it is asked who it is.
    pub identity: Option<Identity>,
    /// `enable.ssl.certificate.verification`: whether the broker's certificate has to be signed by somebody whom we trust.
    pub check_certificate: bool,
    /// `ssl.endpoint.identification.algorithm`: whether it has to be for the host that we connect to.
    pub check_host: bool,
}

/// Whose signature under a broker's certificate counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Whom this machine's OpenSSL trusts.
    System,
    /// `ssl.ca.location`: a file in PEM, or a folder as `openssl rehash` makes it.
    Location(PathBuf),
    /// `ssl.ca.pem`.
    Pem(String),
}

/// `ssl.certificate.location`, `ssl.key.location` and `ssl.key.password.file`, in PEM. The certificate's file may go on with those
/// that signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub key_password: Option<SecretFile>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sasl {
    /// The broker sees the password, and so does the network without TLS.
    Plain(Credentials),
    Scram(ScramHash, Credentials),
    /// `sasl.oauthbearer.token.file`: somebody else keeps a fresh token in it.
    OAuthBearer(SecretFile),
}

/// `sasl.username` and `sasl.password.file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: SecretFile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramHash {
    Sha256,
    Sha512,
}

impl Sasl {
    /// As Kafka calls it.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain(_) => "PLAIN",
            Self::Scram(ScramHash::Sha256, _) => "SCRAM-SHA-256",
            Self::Scram(ScramHash::Sha512, _) => "SCRAM-SHA-512",
            Self::OAuthBearer(_) => "OAUTHBEARER",
        }
    }

    /// Who proves something, for sentences.
    pub(crate) fn who(&self) -> String {
        match self {
            Self::Plain(credentials) | Self::Scram(_, credentials) => format!("user `{}`", credentials.username),
            Self::OAuthBearer(token) => format!("the token in {token}"),
        }
    }
}

impl Security {
    /// The value of `security.protocol`.
    pub fn protocol(&self) -> &'static str {
        match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        }
    }

    /// Whether all files are there and can be used, so that a mistake is told at the start and not taken for an absent broker.
    ///
    /// Before any other client of OpenSSL in the process, such as librdkafka: who comes first says that nothing of OpenSSL is cleaned up
    /// when the process exits, under threads that still use it.
    pub fn check(&self) -> Result<(), Unreadable> {
        openssl::init();
        if let Some(tls) = &self.tls {
            tls::context(tls)?;
        }
        match &self.sasl {
            None => Ok(()),
            Some(Sasl::Plain(credentials) | Sasl::Scram(_, credentials)) => credentials.password.read().map(drop),
            Some(Sasl::OAuthBearer(token)) => token.read_token().map(drop),
        }
    }
}
