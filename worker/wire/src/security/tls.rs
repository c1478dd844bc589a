//! TLS on OpenSSL, as librdkafka has it: the same trust store, the same keys, the same checks.

use std::path::Path;
use std::pin::Pin;

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{ErrorCode, Ssl, SslContext, SslMethod, SslOptions, SslVerifyMode, SslVersion};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509CheckFlags;
use openssl::x509::{X509, X509VerifyResult};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::{Identity, Tls, Trust, Unreadable};

/// Why there is no connection, or not any more.
#[derive(Clone, Debug)]
pub(crate) enum Failed {
    /// We don't trust the broker, or it doesn't trust us: another try would end in the same way.
    Untrusted(String),
    /// Anything else, such as a connection that was lost.
    Broken(String),
}

/// What all connections have in common.
pub(crate) fn context(tls: &Tls) -> Result<SslContext, Unreadable> {
    let openssl = |error: ErrorStack| Unreadable::new(format!("TLS can't be set up: {}", plain(&error)));
    let mut context = SslContext::builder(SslMethod::tls_client()).map_err(openssl)?;
    context.set_min_proto_version(Some(SslVersion::TLS1_2)).map_err(openssl)?;
    // Frames have lengths: one that is cut off is noticed, and an end between two of them is an end.
    context.set_options(SslOptions::IGNORE_UNEXPECTED_EOF);
    context.set_verify(if tls.check_certificate { SslVerifyMode::PEER } else { SslVerifyMode::NONE });
    match &tls.trust {
        Trust::System => context.set_default_verify_paths().map_err(openssl)?,
        Trust::Location(path) => {
            let metadata = path.metadata().map_err(|error| Unreadable::file(path, &error.to_string()))?;
            let (file, folder) = if metadata.is_dir() { (None, Some(path.as_path())) } else { (Some(path.as_path()), None) };
            let unusable = |error| Unreadable::file(path, &format!("no certificates in PEM: {}", plain(&error)));
            context.load_verify_locations(file, folder).map_err(unusable)?;
        }
        Trust::Pem(pem) => {
            let unusable = |error| Unreadable::new(format!("`ssl.ca.pem` has no certificates in PEM: {}", plain(&error)));
            let certificates = X509::stack_from_pem(pem.as_bytes()).map_err(unusable)?;
            if certificates.is_empty() {
                return Err(Unreadable::new("`ssl.ca.pem` has no certificates in PEM"));
            }
            let mut store = X509StoreBuilder::new().map_err(openssl)?;
            for certificate in certificates {
                store.add_cert(certificate).map_err(openssl)?;
            }
            context.set_cert_store(store.build());
        }
    }
    if let Some(Identity { certificate, key, key_password }) = &tls.identity {
        // Whether the file is there is asked first: OpenSSL's own words for that are hard to read.
        read(certificate)?;
        let unusable = |error| Unreadable::file(certificate, &format!("no certificate in PEM: {}", plain(&error)));
        context.set_certificate_chain_file(certificate).map_err(unusable)?;
        let pem = read(key)?;
        let password = key_password.as_ref().map(|file| file.read()).transpose()?;
        let mut asked = false;
        // Without the callback OpenSSL asks whoever sits at the terminal.
        let read = PKey::private_key_from_pem_callback(&pem, |buffer| {
            asked = true;
            let password = password.as_ref().map_or(&b""[..], |password| password.expose().as_bytes());
            let fits = password.len().min(buffer.len());
            buffer[..fits].copy_from_slice(&password[..fits]);
            Ok(fits)
        });
        let private = read.map_err(|error| match (asked, &password) {
            (true, None) => {
                Unreadable::file(key, "the key is encrypted; give the path of a file with its password as `ssl.key.password.file`")
            }
            (true, Some(_)) => Unreadable::file(key, "its password is another one than that in `ssl.key.password.file`"),
            (false, _) => Unreadable::file(key, &format!("no private key in PEM: {}", plain(&error))),
        })?;
        let other = |_| Unreadable::file(key, &format!("it is not the key of {}", certificate.display()));
        context.set_private_key(&private).map_err(other)?;
    }
    Ok(context.build())
}

fn read(path: &Path) -> Result<Vec<u8>, Unreadable> {
    std::fs::read(path).map_err(|error| Unreadable::file(path, &error.to_string()))
}

/// Speaks TLS on a socket that leads to `host`, a name or an IP address.
pub(crate) async fn connect(socket: TcpStream, host: &str, tls: &Tls) -> Result<SslStream<TcpStream>, Failed> {
    // Made anew for each connection, so that files that were replaced count.
    let context = context(tls).map_err(|error| Failed::Broken(error.to_string()))?;
    let openssl = |error: ErrorStack| Failed::Broken(plain(&error));
    let mut ssl = Ssl::new(&context).map_err(openssl)?;
    let address = host.parse::<std::net::IpAddr>().ok();
    if address.is_none() {
        ssl.set_hostname(host).map_err(openssl)?;
    }
    if tls.check_host {
        let check = ssl.param_mut();
        check.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
        match address {
            Some(address) => check.set_ip(address).map_err(openssl)?,
            None => check.set_host(host).map_err(openssl)?,
        }
    }
    let mut stream = SslStream::new(ssl, socket).map_err(openssl)?;
    match Pin::new(&mut stream).connect().await {
        Ok(()) => Ok(stream),
        Err(error) => Err(explain(&error, stream.ssl().verify_result(), host)),
    }
}

/// OpenSSL's verification results that have a remedy of their own (`X509_V_ERR_*`).
mod verification {
    pub const NOT_YET_VALID: i32 = 9;
    pub const EXPIRED: i32 = 10;
    pub const SELF_SIGNED: i32 = 18;
    pub const SELF_SIGNED_IN_CHAIN: i32 = 19;
    pub const UNKNOWN_ISSUER: i32 = 20;
    pub const UNKNOWN_FIRST: i32 = 21;
    pub const OTHER_HOST: i32 = 62;
    pub const OTHER_ADDRESS: i32 = 64;
}

fn explain(error: &openssl::ssl::Error, verified: X509VerifyResult, host: &str) -> Failed {
    use verification::*;
    if verified != X509VerifyResult::OK {
        let said = verified.error_string();
        return Failed::Untrusted(match verified.as_raw() {
            EXPIRED => format!("the broker's certificate has expired ({said}); renew it"),
            NOT_YET_VALID => format!("the broker's certificate is of the future ({said}); check the clocks"),
            SELF_SIGNED | SELF_SIGNED_IN_CHAIN | UNKNOWN_ISSUER | UNKNOWN_FIRST => {
                format!("the broker's certificate is signed by nobody whom this client trusts ({said}); check `ssl.ca.location`")
            }
            OTHER_HOST | OTHER_ADDRESS => format!(
                "the broker's certificate is not for `{host}` ({said}); connect by a name that it has, or have it made for this one"
            ),
            _ => format!("the broker's certificate is not good: {said}"),
        });
    }
    if let Some(io) = error.io_error() {
        return Failed::Broken(format!("no TLS: {io}"));
    }
    let Some(stack) = error.ssl_error() else {
        return Failed::Broken(
            "the broker closed it in the middle of the TLS handshake; does this listener speak TLS?".to_string(),
        );
    };
    let no_tls = || Failed::Broken(format!("no TLS: {}; does this listener speak TLS?", plain(stack)));
    about_us(error).map_or_else(no_tls, Failed::Untrusted)
}

/// What ended a stream that there was. From version 1.3 on the broker judges what we have shown when our side of the handshake is over
/// already, so its alert comes where its first answer would.
pub(crate) fn lost(error: &std::io::Error) -> Failed {
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<openssl::ssl::Error>());
    of_tls.and_then(about_us).map_or_else(|| Failed::Broken(error.to_string()), Failed::Untrusted)
}

/// How the broker refuses what we have shown, if it does. Only a peer that speaks TLS sends an alert.
fn about_us(error: &openssl::ssl::Error) -> Option<String> {
    const ALERTS: [&str; 8] = [
        "bad certificate",
        "unsupported certificate",
        "certificate revoked",
        "certificate expired",
        "certificate unknown",
        "unknown ca",
        "access denied",
        "certificate required",
    ];
    let said = plain(error.ssl_error()?);
    let is_alert = error.code() == ErrorCode::SSL && said.contains("alert") && ALERTS.iter().any(|words| said.contains(words));
    is_alert.then(|| {
        format!("the broker refuses this client's certificate, or that it has none ({said}); check `ssl.certificate.location`")
    })
}

/// What OpenSSL says, without its numbers and places.
fn plain(error: &ErrorStack) -> String {
    let reasons: Vec<&str> = error.errors().iter().filter_map(|error| error.reason()).collect();
    if reasons.is_empty() { "OpenSSL gives no reason".to_string() } else { reasons.join(", ") }
}
