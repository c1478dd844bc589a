//! From [`Security`] to what librdkafka is told, secrets and all.

use super::{Identity, Sasl, Security, Tls, Trust, Unreadable};

impl Security {
    /// librdkafka's properties. Not to be printed: the passwords are in them, read from their files now. The token of OAUTHBEARER is
    /// not: librdkafka asks for it when it needs one.
    pub fn properties(&self) -> Result<Vec<(&'static str, String)>, Unreadable> {
        let mut properties = vec![("security.protocol", self.protocol().to_string())];
        if let Some(tls) = &self.tls {
            add_tls(&mut properties, tls)?;
        }
        if let Some(sasl) = &self.sasl {
            properties.push(("sasl.mechanism", sasl.mechanism().to_string()));
            if let Sasl::Plain(credentials) | Sasl::Scram(_, credentials) = sasl {
                properties.push(("sasl.username", credentials.username.clone()));
                properties.push(("sasl.password", credentials.password.read()?.expose().to_string()));
            }
        }
        Ok(properties)
    }
}

fn add_tls(properties: &mut Vec<(&'static str, String)>, tls: &Tls) -> Result<(), Unreadable> {
    match &tls.trust {
        Trust::System => {}
        Trust::Location(path) => properties.push(("ssl.ca.location", path.display().to_string())),
        Trust::Pem(pem) => properties.push(("ssl.ca.pem", pem.clone())),
    }
    if let Some(Identity { certificate, key, key_password }) = &tls.identity {
        properties.push(("ssl.certificate.location", certificate.display().to_string()));
        properties.push(("ssl.key.location", key.display().to_string()));
        if let Some(password) = key_password {
            properties.push(("ssl.key.password", password.read()?.expose().to_string()));
        }
    }
    properties.push(("enable.ssl.certificate.verification", tls.check_certificate.to_string()));
    let check_host = if tls.check_host { "https" } else { "none" };
    properties.push(("ssl.endpoint.identification.algorithm", check_host.to_string()));
    Ok(())
}
