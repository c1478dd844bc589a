//! `spec.kafka`: how to reach the brokers.

use k8s_openapi::api::core::v1::{ConfigMapKeySelector, LocalObjectReference, SecretKeySelector};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Properties, schema};

/// How to reach Kafka.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Kafka {
    /// Brokers to start from, as comma-separated host:port pairs; the cluster tells the rest.
    #[schemars(length(min = 3, max = 1024), regex(pattern = r"^[^\s,:]+:[0-9]{1,5}(,[^\s,:]+:[0-9]{1,5})*$"))]
    pub bootstrap_servers: String,
    /// TLS to the brokers. Absent: plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// SASL authentication. Absent: none, or a client certificate by tls.clientCertificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
    /// Further properties of the workers' Kafka client, by librdkafka's names. Those that the worker sets itself are refused, with the name, in status.
    #[schemars(schema_with = "schema::properties")]
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
    pub properties: Properties,
}

/// TLS to the brokers.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.caSecret) || !has(self.caConfigMap)").message("set only one of caSecret and caConfigMap"))]
pub struct Tls {
    /// Key of a Secret that holds the CA certificates in PEM. Absent: the image's trust store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKeySelector>,
    /// Key of a ConfigMap that holds the CA certificates in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_config_map: Option<ConfigMapKeySelector>,
    /// Secret of type kubernetes.io/tls (tls.crt, tls.key) to authenticate with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<LocalObjectReference>,
    /// Whether the broker's certificate has to name its host. Default true.
    #[serde(default = "yes")]
    pub verify_hostname: bool,
}

fn yes() -> bool {
    true
}

/// SASL authentication.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Sasl {
    /// Mechanism, in Kafka's own spelling.
    pub mechanism: SaslMechanism,
    /// Secret of type kubernetes.io/basic-auth (username, password); for OAUTHBEARER the client's id and secret.
    pub credentials: LocalObjectReference,
    /// Where OAUTHBEARER gets its tokens.
    #[schemars(length(max = 2048))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint: Option<String>,
}

/// SASL mechanism.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, JsonSchema)]
pub enum SaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer,
}
