//! The client's half of SCRAM (RFC 5802, RFC 7677), without channel binding: two messages each way, as values.
//!
//! As in Kafka's own client, names and passwords are taken as they are, without SASLprep.

use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::{base64, memcmp};

use crate::security::{ScramHash, Secret};

/// Fewer make a password that was listened to cheap to guess.
const FEWEST_ITERATIONS: usize = 4_096;
/// Kafka has at most 16,384. They are counted on the thread of all connections.
const MOST_ITERATIONS: usize = 100_000;

/// No channel binding: `n,,` in base64.
const UNBOUND: &str = "biws";

impl ScramHash {
    fn digest(self) -> MessageDigest {
        match self {
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha512 => MessageDigest::sha512(),
        }
    }
}

/// A conversation that has begun.
pub(crate) struct Scram {
    digest: MessageDigest,
    password: Secret,
    nonce: String,
    first_bare: String,
}

/// One that waits for the broker's proof.
pub(crate) struct Proving {
    signature: Vec<u8>,
}

impl Scram {
    /// `nonce` is random and new, of printable characters without a comma.
    pub fn new(hash: ScramHash, username: &str, password: Secret, nonce: String) -> Self {
        Self::with_digest(hash.digest(), username, password, nonce)
    }

    fn with_digest(digest: MessageDigest, username: &str, password: Secret, nonce: String) -> Self {
        let username = username.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={username},r={nonce}");
        Self { digest, password, nonce, first_bare }
    }

    /// The first message.
    pub fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// The second message, which proves that we know the password.
    pub fn answer(self, challenge: &[u8]) -> Result<(String, Proving), String> {
        let Challenge { text, nonce, salt, iterations } = Challenge::parse(challenge)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the broker answers another conversation than this one".to_string());
        }
        let without_proof = format!("c={UNBOUND},r={nonce}");
        let said = format!("{},{text},{without_proof}", self.first_bare);
        let (proof, signature) = self.prove(&salt, iterations, said.as_bytes()).map_err(|error| format!("OpenSSL: {error}"))?;
        Ok((format!("{without_proof},p={}", base64::encode_block(&proof)), Proving { signature }))
    }

    /// Our proof, and the broker's if it knows the password too.
    fn prove(&self, salt: &[u8], iterations: usize, said: &[u8]) -> Result<(Vec<u8>, Vec<u8>), ErrorStack> {
        let mut salted = vec![0; self.digest.size()];
        pbkdf2_hmac(self.password.expose().as_bytes(), salt, iterations, self.digest, &mut salted)?;
        let client_key = self.hmac(&salted, b"Client Key")?;
        let stored_key = hash(self.digest, &client_key)?;
        let client_signature = self.hmac(&stored_key, said)?;
        let proof = client_key.iter().zip(&client_signature).map(|(key, signature)| key ^ signature).collect();
        let server_key = self.hmac(&salted, b"Server Key")?;
        Ok((proof, self.hmac(&server_key, said)?))
    }

    fn hmac(&self, key: &[u8], of: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        Signer::new(self.digest, &*PKey::hmac(key)?)?.sign_oneshot_to_vec(of)
    }
}

impl Proving {
    /// Whether the broker has proven that it knows the password.
    pub fn check(&self, last: &[u8]) -> Result<(), String> {
        let last = std::str::from_utf8(last).map_err(|_| "the broker's proof is no text".to_string())?;
        if let Some(error) = last.strip_prefix("e=") {
            return Err(format!("the broker says {error}"));
        }
        let proof =
            last.split(',').next().and_then(|first| first.strip_prefix("v=")).and_then(|proof| base64::decode_block(proof).ok());
        match proof {
            // The lengths are no secret.
            Some(proof) if proof.len() == self.signature.len() && memcmp::eq(&proof, &self.signature) => Ok(()),
            _ => Err("the broker does not prove that it knows the password: it may be somebody else".to_string()),
        }
    }
}

/// The broker's first message.
struct Challenge<'a> {
    text: &'a str,
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: usize,
}

impl<'a> Challenge<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, String> {
        let not_understood = || "the broker's challenge is not understood".to_string();
        let text = std::str::from_utf8(message).map_err(|_| not_understood())?;
        if let Some(error) = text.strip_prefix("e=") {
            return Err(format!("the broker says {error}"));
        }
        // In this order, and extensions, which may be ignored, behind them. A mandatory one would stand first.
        let mut parts = text.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name)).ok_or_else(not_understood);
        let (nonce, salt, iterations) = (part("r=")?, part("s=")?, part("i=")?);
        let salt = base64::decode_block(salt).ok().filter(|salt| !salt.is_empty()).ok_or_else(not_understood)?;
        let iterations = iterations.parse().map_err(|_| not_understood())?;
        if !(FEWEST_ITERATIONS..=MOST_ITERATIONS).contains(&iterations) {
            let bounds = format!("between {FEWEST_ITERATIONS} and {MOST_ITERATIONS} are taken");
            return Err(format!("the broker wants {iterations} iterations of its hash, and {bounds}"));
        }
        Ok(Self { text, nonce, salt, iterations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const CHALLENGE: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn sha256() -> Scram {
        Scram::new(ScramHash::Sha256, "user", Secret::new("pencil"), NONCE.to_string())
    }

    /// RFC 7677 section 3.
    #[test]
    fn the_conversation_of_the_standard_with_sha_256_is_held() {
        let scram = sha256();
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (answer, proving) = scram.answer(CHALLENGE.as_bytes()).unwrap();
        assert_eq!(
            answer,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(proving.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
    }

    /// RFC 5802 section 5. Kafka doesn't have SHA-1, the arithmetic is the same.
    #[test]
    fn the_conversation_of_the_standard_with_sha_1_is_held() {
        let nonce = "fyko+d2lbbFgONRv9qkxdawL".to_string();
        let scram = Scram::with_digest(MessageDigest::sha1(), "user", Secret::new("pencil"), nonce);
        let (answer, proving) = scram.answer(b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096").unwrap();
        assert_eq!(answer, "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=");
        assert_eq!(proving.check(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="), Ok(()));
    }

    #[test]
    fn a_name_with_signs_of_the_protocol_is_escaped() {
        let scram = Scram::new(ScramHash::Sha512, "a=b,c", Secret::new("x"), "n".to_string());
        assert_eq!(scram.first(), "n,,n=a=3Db=2Cc,r=n");
    }

    #[test]
    fn a_broker_that_does_not_know_the_password_is_found_out() {
        let (_, proving) = sha256().answer(CHALLENGE.as_bytes()).unwrap();
        for last in ["v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95H4=", "v=", "v=AAAA", "", "n=1", "e=invalid-proof"] {
            assert!(proving.check(last.as_bytes()).is_err(), "{last}");
        }
    }

    #[test]
    fn a_challenge_that_is_not_good_is_not_answered() {
        for (challenge, why) in [
            ("r=rOprNGfwEbeRWgbNEkqO,s=W22Z,i=4096", "another conversation"),
            ("r=other%hvYDpWUa2RaTCAfuxFIlj,s=W22Z,i=4096", "another conversation"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4095", "4095 iterations"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=100001", "100001 iterations"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=-1", "not understood"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=!,i=4096", "not understood"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096", "not understood"),
            ("m=x,r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4096", "not understood"),
            ("e=other-error", "other-error"),
            ("", "not understood"),
        ] {
            let error = sha256().answer(challenge.as_bytes()).err().unwrap();
            assert!(error.contains(why), "{challenge}: {error}");
        }
    }
}
