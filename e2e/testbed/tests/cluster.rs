//! The cluster on itself: what every other test on it takes for granted.

mod on_cluster {
    use std::io::Write;

    use faust_testbed::{Cluster, unique};

    use super::POD;

    /// A namespace with the probe in it; deleted when dropped.
    struct Probe {
        cluster: Cluster,
        namespace: String,
    }

    impl Probe {
        fn start() -> Probe {
            let probe = Probe { cluster: Cluster::find().unwrap(), namespace: unique("smoke") };
            let manifest = POD.replace("NAMESPACE", &probe.namespace).replace("IMAGE", &probe.cluster.image("probe"));
            probe.cluster.kubectl_with_input(["apply", "-f", "-"], &manifest).unwrap();
            probe.kubectl("wait --for=condition=Ready pod/probe --timeout=180s").unwrap();
            probe
        }

        /// None, and a sentence for who reads along, on another cluster than the testbed's.
        fn start_on_testbed(what: &str) -> Option<Probe> {
            if Cluster::find().unwrap().is_testbed() {
                return Some(Probe::start());
            }
            let _ = writeln!(std::io::stderr(), "    left out, for this is not the cluster of `make cluster`: {what}");
            None
        }

        /// What it prints, or says when it fails.
        fn run(&self, words: &str) -> Result<String, String> {
            self.kubectl(&format!("exec probe -- /usr/bin/probe {words}"))
        }

        fn kubectl(&self, words: &str) -> Result<String, String> {
            let output = self.cluster.kubectl(["--namespace", &self.namespace].into_iter().chain(words.split(' ')));
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).map_err(|problem| problem.to_string())
        }
    }

    impl Drop for Probe {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{}", self.kubectl("get pods,pvc,events -o wide").unwrap_or_else(|problem| problem));
            }
            let _ = self.cluster.kubectl(["delete", "namespace", &self.namespace, "--wait=false"]);
        }
    }

    #[test]
    fn a_restricted_pod_has_its_volume_its_names_and_kafka() {
        let probe = Probe::start();
        let who = probe.run("whoami").unwrap();
        assert!(who.contains("Uid: 65532") && who.contains("CapEff: 0000000000000000") && who.contains("Seccomp: 2"), "{who}");
        assert_eq!(probe.run("cat /data/starts").unwrap().lines().count(), 1);
        probe.run("resolve kubernetes.default.svc.cluster.local").unwrap();

        let topic = unique("smoke");
        let kafka = probe.cluster.kafka_in_pods();
        probe.run(&format!("create {kafka} {topic}")).unwrap();
        probe.run(&format!("records {kafka} {topic} 1000")).unwrap();
        probe.cluster.kafka().delete_topic(&topic).unwrap();
    }

    #[test]
    fn a_volume_grows_under_its_pod() {
        let Some(probe) = Probe::start_on_testbed("a volume that grows") else { return };
        probe.kubectl(r#"patch pvc data -p {"spec":{"resources":{"requests":{"storage":"256Mi"}}}}"#).unwrap();
        probe.kubectl("wait --for=jsonpath={.status.capacity.storage}=256Mi pvc/data --timeout=180s").unwrap();
        let size = probe.run("df /data").unwrap();
        assert!(size.starts_with("/data: 2"), "{size}");
    }

    #[test]
    fn users_with_a_password_may_do_what_a_rule_says() {
        let Some(probe) = Probe::start_on_testbed("users with a password") else { return };
        let topic = unique("smoke");
        let kafka = probe.cluster.kafka();
        kafka.create_topic(&topic, 1, &[]).unwrap();
        let rule = ["--add", "--topic", &topic, "--operation", "All", "--allow-principal", "User:worker"];
        kafka.tool("AclCommand", rule).unwrap();

        probe.run(&format!("records kafka.default.svc:9096 {topic} 10 worker")).unwrap();
        let refused = probe.run(&format!("records kafka.default.svc:9096 {topic} 10 other")).unwrap_err();
        assert!(refused.contains("TOPIC_AUTHORIZATION_FAILED"), "{refused}");

        kafka.tool("AclCommand", ["--remove", "--force", "--topic", &topic]).unwrap();
        kafka.delete_topic(&topic).unwrap();
    }

    #[test]
    fn topics_are_created_by_those_only_to_whom_kafka_is_restricted() {
        let Some(probe) = Probe::start_on_testbed("who may create topics") else { return };
        let address = probe.kubectl("get pod probe -o jsonpath={.status.podIP}").unwrap();
        let (topic, kafka) = (unique("smoke"), probe.cluster.kafka_in_pods());
        let from_the_pod = || probe.run(&format!("create {kafka} {topic}"));
        let from_here = || probe.cluster.kafka().create_topic(&topic, 1, &[]);

        let others = probe.cluster.restrict_create(&["127.0.0.1"]).unwrap();
        let refused = from_the_pod().unwrap_err();
        assert!(refused.contains("TOPIC_AUTHORIZATION_FAILED"), "{refused}");
        from_here().unwrap();
        // To write and to read are open to the pod as before.
        probe.run(&format!("records {kafka} {topic} 10")).unwrap();
        probe.cluster.kafka().delete_topic(&topic).unwrap();
        drop(others);

        let ours = probe.cluster.restrict_create(&[&address]).unwrap();
        let refused = from_here().unwrap_err().to_string();
        assert!(refused.contains("uthoriz"), "{refused}");
        from_the_pod().unwrap();
        drop(ours);
        probe.cluster.kafka().delete_topic(&topic).unwrap();
    }
}

/// A pod as restricted as ours are, with a volume, which stays until it is told to end.
const POD: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: NAMESPACE, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: probe, namespace: NAMESPACE}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: NAMESPACE}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: probe, namespace: NAMESPACE}
spec:
  serviceAccountName: probe
  terminationGracePeriodSeconds: 2
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: probe
    image: IMAGE
    args: [serve, /data]
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
"#;
