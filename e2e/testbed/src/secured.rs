//! A broker that wants to know who comes: listeners for TLS and SASL beside the one in plain text, and the files that clients need.
//!
//! Certificates are for 127.0.0.1 and for no name, so that `localhost` is another host than they are for.

use std::fs;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::folder::Folder;
use crate::install::run;
use crate::kafka::Kafka;
use crate::port::Port;

/// How a listener is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// TLS; clients stay unknown.
    Ssl,
    /// TLS; clients show a certificate.
    Mutual,
    /// SASL in the clear.
    SaslPlaintext,
    SaslSsl,
}

/// A broker of a test's own, with the files for its clients in a folder of its own.
#[derive(Debug)]
pub struct Secured {
    kafka: Kafka,
    ports: [u16; 4],
    folder: Folder,
}

const LISTENERS: [(Listener, &str, &str); 4] = [
    (Listener::Ssl, "TLS", "SSL"),
    (Listener::Mutual, "MUTUAL", "SSL"),
    (Listener::SaslPlaintext, "SASL", "SASL_PLAINTEXT"),
    (Listener::SaslSsl, "SECURE", "SASL_SSL"),
];

impl Secured {
    /// Whom SASL knows, by any mechanism.
    pub const USER: &'static str = "anna";
    const PASSWORD: &'static str = "of-anna.1";

    /// Returns when the broker serves and knows its user.
    pub fn start() -> io::Result<Self> {
        Self::with_sessions_of(0)
    }

    /// The same with sessions that clients have to renew after so many milliseconds; 0 is never.
    pub fn with_sessions_of(millis: u64) -> io::Result<Self> {
        let folder = Folder::new()?;
        make_certificates(folder.path())?;
        fs::write(folder.path().join("password"), format!("{}\n", Self::PASSWORD))?;
        fs::write(folder.path().join("other-password"), "another one\n")?;
        let mut builder = Kafka::builder();
        for (key, value) in settings(folder.path(), millis) {
            builder = builder.config(&key, value);
        }
        let mut ports = [0; 4];
        for ((_, name, _), number) in LISTENERS.iter().zip(&mut ports) {
            let port = Port::any()?;
            *number = port.number();
            builder = builder.listener(name, port);
        }
        let kafka = builder.start()?;
        let secured = Self { kafka, ports, folder };
        secured.write_token(3_600)?;
        // One at a time: the tool can't alter a user twice in one call.
        for hash in ["256", "512"] {
            let credentials = format!("SCRAM-SHA-{hash}=[iterations=4096,password={}]", Self::PASSWORD);
            let arguments = ["--alter", "--entity-type", "users", "--entity-name", Self::USER, "--add-config", &credentials];
            secured.kafka.tool("ConfigCommand", arguments)?;
        }
        Ok(secured)
    }

    /// `127.0.0.1:PORT` of a listener.
    pub fn at(&self, listener: Listener) -> String {
        format!("127.0.0.1:{}", self.port(listener))
    }

    pub fn port(&self, listener: Listener) -> u16 {
        let place = LISTENERS.iter().position(|(known, ..)| *known == listener).expect("every listener is listed");
        self.ports[place]
    }

    /// A file for clients: `ca.pem`, which signed the broker's certificate; `other-ca.pem`, which didn't; `client.pem`,
    /// `client.key`, encrypted, and `client.password`; `password` and `other-password`; `token`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts another token into `token`, which is good for so many seconds.
    pub fn write_token(&self, seconds: i64) -> io::Result<()> {
        #[expect(clippy::disallowed_methods, reason = "a token counts until a time of the real clock")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64;
        let header = base64(r#"{"alg":"none"}"#);
        let payload = base64(&format!(r#"{{"sub":"{}","iat":{now},"exp":{}}}"#, Self::USER, now + seconds));
        // Whoever reads it meanwhile gets the old one or the new one.
        let new = self.file("new-token");
        fs::write(&new, format!("{header}.{payload}.\n"))?;
        fs::rename(new, self.file("token"))
    }
}

impl Deref for Secured {
    type Target = Kafka;

    fn deref(&self) -> &Kafka {
        &self.kafka
    }
}

fn settings(folder: &Path, session_millis: u64) -> Vec<(String, String)> {
    let mut settings = vec![
        ("ssl.keystore.type".to_string(), "PEM".to_string()),
        ("ssl.keystore.location".to_string(), folder.join("broker.pem").display().to_string()),
        ("ssl.truststore.type".to_string(), "PEM".to_string()),
        ("ssl.truststore.location".to_string(), folder.join("ca.pem").display().to_string()),
        ("listener.name.mutual.ssl.client.auth".to_string(), "required".to_string()),
        ("connections.max.reauth.ms".to_string(), session_millis.to_string()),
    ];
    let protocols = LISTENERS.iter().map(|(_, name, protocol)| format!(",{name}:{protocol}")).collect::<String>();
    settings.push(("listener.security.protocol.map".to_string(), format!("CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}")));
    let module = |class: &str, options: &str| format!("org.apache.kafka.common.security.{class} required{options};");
    let password = format!(" user_{}=\"{}\"", Secured::USER, Secured::PASSWORD);
    let mechanisms = [
        ("plain", module("plain.PlainLoginModule", &password)),
        ("scram-sha-256", module("scram.ScramLoginModule", "")),
        ("scram-sha-512", module("scram.ScramLoginModule", "")),
        ("oauthbearer", module("oauthbearer.OAuthBearerLoginModule", " unsecuredLoginStringClaim_sub=\"broker\"")),
    ];
    for (_, name, _) in LISTENERS.iter().filter(|(_, _, protocol)| protocol.starts_with("SASL")) {
        let listener = format!("listener.name.{}", name.to_lowercase());
        let enabled = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER".to_string();
        settings.push((format!("{listener}.sasl.enabled.mechanisms"), enabled));
        for (mechanism, module) in &mechanisms {
            settings.push((format!("{listener}.{mechanism}.sasl.jaas.config"), module.clone()));
        }
    }
    settings
}

/// An authority with a certificate for the broker and one for a client, and an authority that signs nothing.
fn make_certificates(folder: &Path) -> io::Result<()> {
    let certify = |name: &str, arguments: &[&str]| {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(folder).args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-days",
            "2",
        ]);
        openssl.args(["-subj", &format!("/CN={name}"), "-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")]);
        run(openssl.args(arguments), "openssl (Debian package openssl)")
    };
    let signed = ["-CA", "ca.pem", "-CAkey", "ca.key"];
    certify("ca", &["-noenc"])?;
    certify("other-ca", &["-noenc"])?;
    certify("broker", &[&signed[..], &["-noenc", "-addext", "subjectAltName=IP:127.0.0.1"]].concat())?;
    fs::write(folder.join("client.password"), "of the key\n")?;
    certify("client", &[&signed[..], &["-passout", "file:client.password"]].concat())?;
    // Kafka wants a key and what it belongs to in one file.
    let broker = fs::read_to_string(folder.join("broker.key"))? + &fs::read_to_string(folder.join("broker.pem"))?;
    fs::write(folder.join("broker.pem"), broker)
}

/// For URLs, without padding.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digits = |chunk: &[u8]| {
        let bits = chunk.iter().enumerate().fold(0u32, |bits, (place, byte)| bits | u32::from(*byte) << (16 - 8 * place));
        (0..=chunk.len()).map(move |place| DIGITS[(bits >> (18 - 6 * place) & 63) as usize] as char)
    };
    text.as_bytes().chunks(3).flat_map(digits).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_is_that_of_tokens() {
        assert_eq!(["", "f", "fo", "foo", "foob", "~~~?"].map(super::base64), ["", "Zg", "Zm8", "Zm9v", "Zm9vYg", "fn5-Pw"]);
    }
}
