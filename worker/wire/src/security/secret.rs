//! A secret, which is never printed, and the file that holds it.

use std::fmt;
use std::path::{Path, PathBuf};

/// A text that nobody gets to see by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The path of a file with one secret in it. It is read when the secret is needed, so that it can be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile(PathBuf);

/// A file that isn't what it has to be, in one sentence that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(String);

impl SecretFile {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Without the line break that editors put at the end.
    pub fn read(&self) -> Result<Secret, Unreadable> {
        let text = std::fs::read_to_string(&self.0).map_err(|error| Unreadable::file(&self.0, &error.to_string()))?;
        let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
        match text {
            "" => Err(Unreadable::file(&self.0, "it is empty")),
            // librdkafka takes texts that end at a zero.
            text if text.contains('\0') => Err(Unreadable::file(&self.0, "it has a zero byte in it")),
            text => Ok(Secret(text.to_string())),
        }
    }

    /// The same for a bearer token, which has nothing but visible ASCII.
    pub fn read_token(&self) -> Result<Secret, Unreadable> {
        let token = self.read()?;
        let token = Secret(token.0.trim().to_string());
        match !token.0.is_empty() && token.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(token),
            false => Err(Unreadable::file(&self.0, "it doesn't hold a token, and nothing else")),
        }
    }
}

impl fmt::Display for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.display())
    }
}

impl Unreadable {
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    pub(crate) fn file(path: &Path, why: &str) -> Self {
        Self(format!("{} can't be used: {why}", path.display()))
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}
