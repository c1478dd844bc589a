use super::*;
use crate::{Error, TopologyError, secs};

fn told(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Command, Exit> {
    let arguments = ["page-views"].iter().chain(arguments).map(OsString::from);
    let environment = environment.iter().map(|(name, text)| (name.to_string(), text.to_string()));
    parse("page-views", "1.2.3", &Settings::new().broker("memory://"), environment, arguments)
}

fn said(arguments: &[&str]) -> (i32, String) {
    match told(arguments, &[]) {
        Err(Exit::Said(error)) => (error.exit_code(), error.render().to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_worker_is_told_its_settings_by_flags() {
    let flags = ["worker", "--session-timeout", "6s", "--web-port=0", "--kafka", "linger.ms=20", "--kafka", "debug=broker"];
    let Command::Worker(configured) = told(&flags, &[("FAUST_WEB_PORT", "1")]).unwrap() else { panic!() };
    let settings = configured.settings;
    assert_eq!((settings.session_timeout, settings.web_port), (secs(6), 0));
    assert_eq!(settings.kafka.to_string(), "debug=broker linger.ms=20");
}

#[test]
fn the_configuration_can_be_printed_with_the_source_of_every_value() {
    let Command::Print(text) = told(&["worker", "--print-config", "--node=n1"], &[("FAUST_WEB_PORT", "1")]).unwrap() else {
        panic!()
    };
    for line in ["broker = memory:// (code)", "web-port = 1 (env)", "node = n1 (flag)", "log-level = info (default)"] {
        assert!(text.lines().any(|listed| listed == line), "{line}: {text}");
    }
    assert!(matches!(told(&["worker", "--print-config", "--web-port=x"], &[]), Err(Exit::Refused(_))));
}

#[test]
fn help_lists_every_setting_with_its_variable_and_default() {
    let (code, help) = said(&["worker", "--help"]);
    assert_eq!(code, 0);
    for setting in TABLE {
        assert!(help.contains(&format!("--{} <{}>", setting.name, setting.placeholder)), "{}", setting.name);
        assert!(help.contains(&format!("[env: {}] [default: ", setting.variable())), "{}", setting.name);
    }
    assert!(help.contains("[default: ./page-views-data]") && help.contains("--kafka <key=value>"), "{help}");
}

#[test]
fn help_and_version_are_no_failures_and_a_wrong_usage_is_2() {
    assert_eq!(said(&["--version"]), (0, "page-views 1.2.3\n".into()));
    let (code, help) = said(&["--help"]);
    assert!(code == 0 && help.contains("Usage: page-views <COMMAND>") && help.contains("worker"), "{help}");
    assert_eq!(said(&[]).0, 2);
    assert_eq!(said(&["wroker"]).0, 2);
    let (code, usage) = said(&["worker", "--web-prot", "1"]);
    assert!(code == 2 && usage.contains("--web-port"), "{usage}");
    assert_eq!(said(&["worker", "--web-port", "1", "--web-port", "2"]).0, 2);
}

#[test]
fn a_refused_setting_is_78_and_names_the_setting() {
    let Err(Exit::Refused(refusal)) = told(&["worker", "--web-port", "many"], &[]) else { panic!() };
    assert_eq!((refusal.reason.code(), refusal.field.as_deref()), (78, Some("settings.web-port")));
    let Err(Exit::Refused(refusal)) = told(&["worker"], &[("FAUST_WEB_PROT", "1")]) else { panic!() };
    assert_eq!((refusal.reason.code(), refusal.field.as_deref()), (78, Some("settings.FAUST_WEB_PROT")));
}

#[test]
fn every_error_that_ends_a_worker_has_its_exit_code() {
    let code = |error: Error| Refusal::from(&error).reason.code();
    assert_eq!(code(Error::msg("agent `count`: no")), 1);
    assert_eq!(code(TopologyError::DuplicateName("twice".into()).into()), 78);
    assert_eq!(code(Refusal::new(ExitReason::KafkaRefuses, "not authorised").into()), 69);
    assert_eq!(code(Refusal::new(ExitReason::PortInUse, "taken").into()), 78);
    assert_eq!(code(Refusal::new(ExitReason::DatadirInUse, "taken").into()), 78);
    assert_eq!(code(Refusal::new(ExitReason::Panicked, "a bug").into()), 70);
}

#[test]
fn the_termination_message_is_one_line_where_kubernetes_made_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("termination-log");
    let refusal = Refusal::new(ExitReason::SettingRefused, "setting `x`: no\nway").about("settings.x");
    refusal.write_termination_message(&path).unwrap();
    assert!(!path.exists());
    std::fs::write(&path, "what was here before, and longer than what comes, by far, so that a rest of it would show").unwrap();
    refusal.write_termination_message(&path).unwrap();
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written, "{\"reason\":\"SettingRefused\",\"message\":\"setting `x`: no\\nway\",\"field\":\"settings.x\"}\n");
}

#[test]
fn a_long_sentence_still_fits_into_a_termination_message() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("termination-log");
    std::fs::write(&path, "").unwrap();
    for text in ["ä🦀", "\"\u{1}", "x"].map(|text| text.repeat(10_000)) {
        Refusal::new(ExitReason::AgentFailed, text.as_str()).about(text.as_str()).write_termination_message(&path).unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written.len() <= 4_096 && serde_json::from_str::<serde_json::Value>(&written).is_ok());
    }
}

#[tokio::test]
async fn the_first_signal_asks_and_the_second_ends() {
    let mut signals = Signals::listen().unwrap();
    let raise = |number| {
        // SAFETY: the handlers of both signals were installed by `listen`.
        assert_eq!(unsafe { libc::raise(number) }, 0);
    };
    raise(libc::SIGTERM);
    assert_eq!(signals.next().await, Stop::Gracefully);
    raise(libc::SIGINT);
    assert_eq!(signals.next().await, Stop::Now { code: 130 });
    raise(libc::SIGTERM);
    assert_eq!(signals.next().await, Stop::Now { code: 143 });
}
