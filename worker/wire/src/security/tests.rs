use super::*;
use crate::fake::TemporaryFile;

fn refused(properties: &[(&str, &str)]) -> String {
    Security::parse(properties.iter().copied()).unwrap_err().to_string()
}

#[test]
fn librdkafkas_names_are_read_and_become_its_properties_again_with_the_secrets() {
    let (password, key_password) = (TemporaryFile::with("hunter2\n"), TemporaryFile::with("hunter3"));
    let given = [
        ("linger.ms", "20"),
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanisms", "SCRAM-SHA-512"),
        ("sasl.username", "anna"),
        ("sasl.password.file", password.0.to_str().unwrap()),
        ("ssl.ca.location", "/ca.pem"),
        ("ssl.certificate.location", "/me.pem"),
        ("ssl.key.location", "/me.key"),
        ("ssl.key.password.file", key_password.0.to_str().unwrap()),
        ("ssl.endpoint.identification.algorithm", "none"),
    ];
    let security = Security::parse(given).unwrap();
    assert_eq!(
        security.properties().unwrap(),
        [
            ("security.protocol", "sasl_ssl"),
            ("ssl.ca.location", "/ca.pem"),
            ("ssl.certificate.location", "/me.pem"),
            ("ssl.key.location", "/me.key"),
            ("ssl.key.password", "hunter3"),
            ("enable.ssl.certificate.verification", "true"),
            ("ssl.endpoint.identification.algorithm", "none"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "anna"),
            ("sasl.password", "hunter2"),
        ]
        .map(|(name, value)| (name, value.to_string()))
    );
    assert!(!format!("{security:?}").contains("hunter"));
    assert_eq!(Security::parse([("linger.ms", "20")]), Ok(Security::default()));
}

#[test]
fn a_secret_among_the_settings_is_refused_without_being_repeated() {
    for (property, instead) in [
        ("sasl.password", "sasl.password.file"),
        ("ssl.key.password", "ssl.key.password.file"),
        ("ssl.key.pem", "ssl.key.location"),
    ] {
        let sentence = refused(&[("security.protocol", "ssl"), (property, "hunter2")]);
        assert!(sentence.contains(instead) && !sentence.contains("hunter2"), "{sentence}");
    }
}

#[test]
fn what_would_protect_nothing_or_only_a_part_is_refused_with_what_to_do() {
    let plain = [("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "PLAIN"), ("sasl.username", "anna")];
    let with = |more: &[(&'static str, &'static str)]| refused(&[&plain[..], more].concat());
    for (sentence, words) in [
        (refused(&[("security.protocol", "tls")]), r#"is "tls"; expected plaintext, ssl, sasl_plaintext or sasl_ssl"#),
        (refused(&[("ssl.ca.location", "/ca.pem")]), "has no effect unless `security.protocol` is ssl or sasl_ssl"),
        (refused(&[("sasl.username", "anna")]), "has no effect unless `security.protocol` is sasl_ssl or sasl_plaintext"),
        (refused(&[("security.protocol", "sasl_ssl")]), "`sasl.mechanism` is missing"),
        (refused(&[("security.protocol", "sasl_ssl"), ("sasl.mechanism", "GSSAPI")]), r#"is "GSSAPI", which is not supported"#),
        (refused(&[("security.protocol", "ssl"), ("ssl.key.location", "/k")]), "`ssl.certificate.location` is missing"),
        (refused(&[("security.protocol", "ssl"), ("ssl.cipher.suites", "x")]), "for a part of the worker's connections only"),
        (refused(&[("security.protocol", "ssl"), ("ssl.keystore.location", "x")]), "openssl pkcs12"),
        (refused(&[("security.protocol", "ssl"), ("enable.ssl.certificate.verification", "no")]), "expected true or false"),
        (with(&[]), "`sasl.password.file` is missing"),
        (with(&[("sasl.password.file", "/p"), ("sasl.oauthbearer.token.file", "/t")]), "belongs to OAUTHBEARER"),
        (with(&[("sasl.password.file", "/p"), ("sasl.mechanisms", "PLAIN")]), "by another name"),
        (with(&[("sasl.password.file", "/p"), ("sasl.kerberos.keytab", "k")]), "GSSAPI"),
        (with(&[("sasl.password.file", "/p"), ("sasl.oauthbearer.method", "oidc")]), "the token is read from"),
        (with(&[("sasl.password.file", "/p"), ("Ssl.Ca.Location", "/ca.pem")]), "those that hold for all are"),
    ] {
        assert!(sentence.contains(words), "{sentence} lacks: {words}");
    }
}

#[test]
fn files_that_can_not_be_used_are_named_with_the_reason() {
    let (empty, garbage) = (TemporaryFile::with("\n"), TemporaryFile::with("garbage"));
    let path = |file: &TemporaryFile| file.0.to_str().unwrap().to_string();
    let check = |properties: &[(&str, &str)]| Security::parse(properties.iter().copied()).unwrap().check().unwrap_err().to_string();
    let plain = |password: &str| {
        let properties = [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "a"),
            ("sasl.password.file", password),
        ];
        check(&properties)
    };
    assert_eq!(plain("/none"), "/none can't be used: No such file or directory (os error 2)");
    assert_eq!(plain(&path(&empty)), format!("{} can't be used: it is empty", path(&empty)));
    let ca = |location: &str| check(&[("security.protocol", "ssl"), ("ssl.ca.location", location)]);
    assert!(ca("/none").contains("/none can't be used"));
    assert!(ca(&path(&garbage)).contains("no certificates in PEM"));
    assert!(check(&[("security.protocol", "ssl"), ("ssl.ca.pem", "garbage")]).contains("`ssl.ca.pem`"));
}
