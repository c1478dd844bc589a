//! Whole workers on listeners that want to know who comes: one test per mechanism, each with group, records and changelogs, and what
//! happens when one side doesn't accept the other.

#![allow(clippy::disallowed_methods, reason = "a token counts until a time of the real clock")]

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use faust_e2e::Orders;
use faust_e2e::orders::COUNT;
use faust_testbed::{Listener, Secured};

const ORDERS: &str = env!("CARGO_BIN_EXE_e2e-orders");
/// What `sysexits.h` calls EX_UNAVAILABLE and EX_CONFIG.
const REFUSED_BY_KAFKA: i32 = 69;
const REFUSED_SETTING: i32 = 78;

/// Sessions of SASL have to be renewed after so long, which a worker's life is longer than.
const SESSION_MILLIS: u64 = 3_000;

/// The token that is replaced counts so long.
const FIRST_TOKEN: Duration = Duration::from_secs(15);

/// One for all tests. It goes with this process.
fn kafka() -> &'static Secured {
    static KAFKA: OnceLock<Secured> = OnceLock::new();
    KAFKA.get_or_init(|| Secured::with_sessions_of(SESSION_MILLIS).unwrap_or_else(|error| panic!("{error}")))
}

/// An app whose workers come by this listener and have these properties; `{name}` in them is a file of the broker's clients.
fn stage(listener: Listener, properties: &[&str]) -> Orders<'static> {
    let files = ["ca.pem", "other-ca.pem", "client.pem", "client.key", "client.password", "password", "other-password", "token"];
    let with_path = |line: &str, file: &&str| line.replace(&format!("{{{file}}}"), kafka().file(file).to_str().expect("a path"));
    let lines: Vec<String> =
        properties.iter().map(|line| files.iter().fold(line.to_string(), |line, file| with_path(&line, file))).collect();
    let mut stage = Orders::on(kafka(), ORDERS, 2).flag("broker", &kafka().at(listener)).flag("session-timeout", "10s");
    stage.workers = stage.workers.variable("FAUST_KAFKA", lines.join("\n"));
    stage
}

/// Counts, stops, loses its store and has it back from the changelog.
fn works(stage: &Orders<'_>) {
    let keys = stage.one_key_each();
    let worker = stage.workers.start("anna");
    keys.iter().for_each(|key| stage.until_row(&worker, key, 1));
    assert_eq!(worker.stop(), 0, "{}", worker.log());

    stage.workers.delete_data_folder("anna");
    let worker = stage.workers.start("anna");
    worker.until_ready();
    keys.iter().for_each(|key| stage.until_row(&worker, key, 1));
    assert_eq!(worker.stop(), 0, "{}", worker.log());
}

#[test]
fn a_worker_by_password_in_the_clear_on_kafka() {
    works(&stage(
        Listener::SaslPlaintext,
        &["security.protocol=sasl_plaintext", "sasl.mechanism=PLAIN", "sasl.username=anna", "sasl.password.file={password}"],
    ));
}

#[test]
fn a_worker_by_scram_with_sha_256_on_kafka() {
    works(&stage(
        Listener::SaslSsl,
        &[
            "security.protocol=SASL_SSL",
            "ssl.ca.location={ca.pem}",
            "sasl.mechanism=SCRAM-SHA-256",
            "sasl.username=anna",
            "sasl.password.file={password}",
        ],
    ));
}

#[test]
fn a_worker_by_scram_with_sha_512_on_kafka() {
    works(&stage(
        Listener::SaslPlaintext,
        &[
            "security.protocol=sasl_plaintext",
            "sasl.mechanisms=SCRAM-SHA-512",
            "sasl.username=anna",
            "sasl.password.file={password}",
        ],
    ));
}

#[test]
fn a_worker_by_tls_alone_and_by_a_certificate_of_its_own_on_kafka() {
    works(&stage(Listener::Ssl, &["security.protocol=ssl", "ssl.ca.location={ca.pem}"]));
    works(&stage(
        Listener::Mutual,
        &[
            "security.protocol=ssl",
            "ssl.ca.location={ca.pem}",
            "ssl.certificate.location={client.pem}",
            "ssl.key.location={client.key}",
            "ssl.key.password.file={client.password}",
        ],
    ));
}

/// The token is replaced in its file, and nobody starts anything anew.
#[test]
fn a_worker_by_token_goes_on_when_the_token_is_replaced_on_kafka() {
    let stage = stage(
        Listener::SaslSsl,
        &[
            "security.protocol=sasl_ssl",
            "ssl.ca.location={ca.pem}",
            "sasl.mechanism=OAUTHBEARER",
            "sasl.oauthbearer.token.file={token}",
        ],
    );
    works(&stage);

    kafka().write_token(FIRST_TOKEN.as_secs() as i64).unwrap();
    let expired = Instant::now() + FIRST_TOKEN;
    let worker = stage.workers.start("bert");
    let before = worker.until_ready();
    kafka().write_token(3_600).unwrap();
    let mut sent = 0;
    while sent == 0 || Instant::now() < expired {
        stage.send(["one"], COUNT);
        sent += 1;
        stage.until_row(&worker, "one", sent);
    }
    let after = worker.state();
    assert_eq!((after.generation, after.rebalances), (before.generation, before.rebalances));
    assert!(after.tasks.iter().all(|task| task.starts_over == 0), "{after:?}");
    assert_eq!(worker.stop(), 0, "{}", worker.log());
}

#[test]
fn who_is_not_accepted_ends_with_the_reason_on_kafka() {
    let refused = |listener: Listener, properties: &[&str], code: i32, words: &[&str]| {
        let stage = stage(listener, properties);
        let worker = stage.workers.start("anna");
        assert_eq!(worker.until_ended(), code, "{}", worker.log());
        let log = worker.log();
        let sentence = log.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("no sentence: {log}"));
        assert!(words.iter().all(|word| sentence.contains(word)), "{words:?} not all in: {sentence}");
        assert!(!log.contains("another one"), "the password is in the log: {log}");
    };
    let sasl = ["security.protocol=sasl_plaintext", "sasl.username=anna", "sasl.password.file={other-password}"];
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let by = format!("sasl.mechanism={mechanism}");
        let with = [&sasl[..], &[by.as_str()]].concat();
        let words = ["user `anna`", mechanism, "SASL_AUTHENTICATION_FAILED", "check its credentials"];
        refused(Listener::SaslPlaintext, &with, REFUSED_BY_KAFKA, &words);
    }
    let token = ["security.protocol=sasl_plaintext", "sasl.mechanism=OAUTHBEARER", "sasl.oauthbearer.token.file={other-password}"];
    refused(Listener::SaslPlaintext, &token, REFUSED_SETTING, &["other-password", "token"]);

    let tls = ["security.protocol=ssl", "ssl.ca.location={other-ca.pem}"];
    refused(Listener::Ssl, &tls, REFUSED_BY_KAFKA, &["signed by nobody whom this client trusts", "ssl.ca.location"]);
    let nobody = ["security.protocol=ssl", "ssl.ca.location={ca.pem}"];
    refused(
        Listener::Mutual,
        &nobody,
        REFUSED_BY_KAFKA,
        &["the broker refuses this client's certificate", "ssl.certificate.location"],
    );
    let inline = ["security.protocol=sasl_plaintext", "sasl.mechanism=PLAIN", "sasl.username=anna", "sasl.password=another one"];
    refused(Listener::SaslPlaintext, &inline, REFUSED_SETTING, &["sasl.password.file"]);

    // A broker that is reached by a name that its certificate doesn't have.
    let localhost = stage(Listener::Ssl, &["security.protocol=ssl", "ssl.ca.location={ca.pem}"]);
    let broker = format!("localhost:{}", kafka().port(Listener::Ssl));
    let worker = localhost.workers.start_with("anna", &[("broker", &broker)]);
    assert_eq!(worker.until_ended(), REFUSED_BY_KAFKA, "{}", worker.log());
    assert!(worker.log().contains("the broker's certificate is not for `localhost`"), "{}", worker.log());
}

/// It may be that the listener is yet to be mended.
#[test]
fn a_listener_that_speaks_something_else_is_waited_for_with_what_is_odd_about_it_on_kafka() {
    let clear = stage(Listener::Ssl, &["security.protocol=plaintext"]);
    clear.workers.start("anna").until_unready(&["does this listener speak plain text?"]);
    let encrypted = stage(Listener::SaslPlaintext, &["security.protocol=ssl", "ssl.ca.location={ca.pem}"]);
    encrypted.workers.start("anna").until_unready(&["does this listener speak TLS?"]);
}
