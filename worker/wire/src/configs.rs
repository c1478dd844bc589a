//! Configuration of topics: reading what is in effect, setting single keys.

use std::collections::BTreeMap;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use crate::client::{Client, Patience};
use crate::error::Error;
use crate::request::Request;
use crate::text;

/// Kafka's number for topics among what can be configured.
const TOPIC_RESOURCE: i8 = 2;
/// Kafka's number for a value that was set on the topic itself, not inherited from the broker or built in.
const SET_ON_TOPIC: i8 = 1;
/// Kafka's number for giving a key a value.
const SET: i8 = 0;

/// One setting of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    /// `None` if it is secret or has none.
    pub value: Option<String>,
    /// Set on the topic itself; else the broker's or Kafka's default.
    pub set_on_topic: bool,
}

impl Client {
    /// These settings of a topic; names that Kafka doesn't know are left out.
    pub async fn describe_topic_configs(&self, topic: &str, names: &[&str]) -> Result<Vec<ConfigEntry>, Error> {
        let mut described = self.describe_configs_of_topics(&[(topic, names)]).await?;
        described.remove(topic).unwrap_or_else(|| Err(not_answered(topic)))
    }

    /// The same for many topics in one request, by topic.
    pub async fn describe_configs_of_topics(
        &self,
        topics: &[(&str, &[&str])],
    ) -> Result<BTreeMap<String, Result<Vec<ConfigEntry>, Error>>, Error> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let resources = topics.iter().map(|(topic, names)| {
            DescribeConfigsResource::default()
                .with_resource_type(TOPIC_RESOURCE)
                .with_resource_name(text(*topic))
                .with_configuration_keys(Some(names.iter().map(|name| text(*name)).collect()))
        });
        let response = self.call(DescribeConfigsRequest::default().with_resources(resources.collect())).await?;
        let described = response.results.into_iter().map(|result| {
            let topic = result.resource_name.to_string();
            let message = result.error_message.as_ref().map(|message| message.as_str());
            let checked = Error::check(DescribeConfigsRequest::NAME, result.error_code, format_args!("topic `{topic}`"), message);
            let entries = result.configs.into_iter().map(|config| ConfigEntry {
                name: config.name.to_string(),
                value: config.value.map(|value| value.to_string()),
                set_on_topic: config.config_source == SET_ON_TOPIC,
            });
            (topic, checked.map(|()| entries.collect()))
        });
        Ok(described.collect())
    }

    /// Sets these keys of a topic; all others keep what they have.
    pub async fn set_topic_configs(&self, topic: &str, set: &BTreeMap<String, String>) -> Result<(), Error> {
        let mut patience = Patience::new();
        while let Err(error) = self.set_topic_configs_once(topic, set).await {
            patience.after(error).await?;
        }
        Ok(())
    }

    async fn set_topic_configs_once(&self, topic: &str, set: &BTreeMap<String, String>) -> Result<(), Error> {
        let configs = set.iter().map(|(name, value)| {
            AlterableConfig::default()
                .with_name(text(name.as_str()))
                .with_config_operation(SET)
                .with_value(Some(text(value.as_str())))
        });
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(text(topic))
            .with_configs(configs.collect());
        let response = self.call(IncrementalAlterConfigsRequest::default().with_resources(vec![resource])).await?;
        let answer = response.responses.into_iter().find(|answer| answer.resource_name.as_str() == topic);
        let answer = answer.ok_or_else(|| not_answered(topic))?;
        let message = answer.error_message.as_ref().map(|message| message.as_str());
        Error::check(IncrementalAlterConfigsRequest::NAME, answer.error_code, format_args!("topic `{topic}`"), message)
    }
}

fn not_answered(topic: &str) -> Error {
    Error::Protocol(format!("nothing was said about the configuration of topic `{topic}`"))
}
