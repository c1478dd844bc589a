//! The API server's fixture on itself.

mod on_apiserver {
    use std::process::{Command, Stdio};

    use faust_testbed::{ApiServer, unique};

    fn words(line: &str) -> Vec<&str> {
        line.split(' ').collect()
    }

    #[test]
    fn what_rbac_grants_is_what_a_user_may_do_and_the_audit_log_tells() {
        let server = ApiServer::shared();
        let namespace = unique("rbac");
        server.kubectl(["create", "namespace", &namespace]).unwrap();
        for line in ["create role reader --verb=list --resource=configmaps", "create rolebinding reader --role=reader --user=ann"] {
            server.kubectl(words(line).into_iter().chain(["--namespace", &namespace])).unwrap();
        }
        let ann = server.kubeconfig_of("ann").unwrap();
        let as_ann = |line: &str| {
            let flags = ["--kubeconfig", ann.to_str().unwrap(), "--namespace", &namespace];
            server.kubectl(flags.into_iter().chain(words(line))).map_err(|problem| problem.to_string())
        };

        as_ann("get configmaps").unwrap();
        let refused = as_ann("create configmap tea --from-literal=cups=2").unwrap_err();
        assert!(refused.contains(r#"User "ann" cannot create resource "configmaps""#), "{refused}");

        // A later request's line is a sign that those before were written.
        as_ann("get secrets").unwrap_err();
        let seen = until("the audit log has all", || {
            let requests = server.audit().unwrap().into_iter().filter(|r| r.user == "ann" && r.namespace == namespace);
            let seen: Vec<_> = requests.map(|r| (r.verb.clone(), r.resource.clone(), r.code, r.writes())).collect();
            seen.iter().any(|(_, resource, ..)| resource == "secrets").then_some(seen)
        });
        assert!(seen.contains(&("list".to_owned(), "configmaps".to_owned(), 200, false)), "{seen:?}");
        assert!(seen.contains(&("create".to_owned(), "configmaps".to_owned(), 403, true)), "{seen:?}");
    }

    #[test]
    fn a_namespaces_service_account_gets_tokens() {
        let server = ApiServer::shared();
        let namespace = unique("account");
        server.kubectl(["create", "namespace", &namespace]).unwrap();
        server.kubectl(["create", "serviceaccount", "operator", "--namespace", &namespace]).unwrap();
        let token = server.kubectl(["create", "token", "operator", "--namespace", &namespace]).unwrap();
        let token = String::from_utf8(token.stdout).unwrap();

        let own = ["--kubeconfig=/dev/null", "--server", server.url(), "--token", token.trim(), "--certificate-authority"];
        let who = server.kubectl(
            own.map(String::from).into_iter().chain([server.ca().display().to_string()]).chain(["auth".into(), "whoami".into()]),
        );
        let who = String::from_utf8(who.unwrap().stdout).unwrap();
        assert!(who.contains(&format!("system:serviceaccount:{namespace}:operator")), "{who}");
    }

    /// The test runs itself in a second process, whose shared server must be gone when it has ended.
    #[test]
    fn the_shared_server_ends_with_its_process_and_its_folder_too() {
        const INNER: &str = "FAUST_TESTBED_INNER";
        if std::env::var_os(INNER).is_some() {
            println!("\nCA={}", ApiServer::shared().ca().display());
            return;
        }
        let this = "on_apiserver::the_shared_server_ends_with_its_process_and_its_folder_too";
        let mut inner = Command::new(std::env::current_exe().unwrap());
        let inner = inner.args(["--exact", this, "--nocapture"]).env(INNER, "1").stderr(Stdio::inherit()).output().unwrap();
        assert!(inner.status.success());
        let said = String::from_utf8(inner.stdout).unwrap();
        let ca = said.lines().find_map(|line| line.strip_prefix("CA=")).unwrap();
        let folder = std::path::Path::new(ca).parent().unwrap().parent().unwrap();

        assert!(!folder.exists());
        let lines = std::fs::read_dir("/proc").unwrap().filter_map(|p| std::fs::read(p.unwrap().path().join("cmdline")).ok());
        assert_eq!(lines.filter(|line| String::from_utf8_lossy(line).contains(folder.to_str().unwrap())).count(), 0);
    }

    #[expect(clippy::disallowed_methods, reason = "waits for another process's file")]
    fn until<T>(what: &str, ready: impl Fn() -> Option<T>) -> T {
        let start = std::time::Instant::now();
        loop {
            if let Some(value) = ready() {
                return value;
            }
            assert!(start.elapsed().as_secs() < 30, "{what}: not within 30 s");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
