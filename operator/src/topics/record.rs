//! Which topics are whose: the ConfigMap `<app>-topics`, written before anything else uses a new topic.
//!
//! Topics carry no labels, and a name can be given twice. Kafka's id of a topic can't, so what we made is known by name *and* id.

use std::collections::BTreeMap;

use faust_crds::TopicRole;
use serde::{Deserialize, Serialize};

use crate::model::NewTopic;

/// The record, by the topic's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record(BTreeMap<String, Entry>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub id: String,
    /// We made it: only then may a deletion policy remove it.
    pub created: bool,
    pub role: TopicRole,
    /// The id of the topic that we made under this name, which somebody has deleted since; `id` is another topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
}

impl Record {
    /// From the ConfigMap's data. What can't be read counts as not recorded, which is the safe side: it is never deleted.
    pub fn parse(data: &BTreeMap<String, String>) -> Self {
        let entries = data.iter().filter_map(|(name, entry)| Some((name.clone(), serde_json::from_str(entry).ok()?)));
        Self(entries.collect())
    }

    /// The ConfigMap's data.
    pub fn data(&self) -> BTreeMap<String, String> {
        let written = |entry: &Entry| serde_json::to_string(entry).expect("strings and booleans can be written");
        self.0.iter().map(|(name, entry)| (name.clone(), written(entry))).collect()
    }

    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.0.get(name)
    }

    /// We have just made this topic, and Kafka gave it this id.
    pub(super) fn made(&mut self, topic: &NewTopic, id: &str) {
        let entry = Entry { id: id.to_string(), created: true, role: topic.role, replaced: None };
        self.0.insert(topic.name.clone(), entry);
    }

    /// The topic of this name has this id now. What wasn't recorded is adopted, as not ours. True if it takes the place of one that
    /// we had made.
    pub(super) fn seen(&mut self, name: &str, id: &str, role: TopicRole) -> bool {
        let adopted = || Entry { id: id.to_string(), created: false, role, replaced: None };
        let entry = self.0.entry(name.to_string()).or_insert_with(adopted);
        entry.role = role;
        if entry.id == id {
            return false;
        }
        let old = std::mem::replace(&mut entry.id, id.to_string());
        let taken = std::mem::take(&mut entry.created);
        if taken {
            entry.replaced = Some(old);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> NewTopic {
        let config = BTreeMap::new();
        NewTopic { name: name.into(), role: TopicRole::Changelog, partitions: None, replication_factor: None, config }
    }

    #[test]
    fn what_is_written_is_read_again_and_what_cannot_be_read_is_not_ours() {
        let mut record = Record::default();
        record.made(&topic("changelog"), "id-1");
        record.seen("page_views", "id-2", TopicRole::Declared);
        let mut data = record.data();
        assert_eq!(data["changelog"], r#"{"id":"id-1","created":true,"role":"Changelog"}"#);
        assert_eq!(Record::parse(&data), record);
        data.insert("changelog".into(), "created: true".into());
        assert_eq!(Record::parse(&data).get("changelog"), None);
    }

    #[test]
    fn another_id_under_the_name_is_not_ours_until_we_make_it_again() {
        let mut record = Record::default();
        record.made(&topic("a"), "id-1");
        assert!(!record.seen("a", "id-1", TopicRole::Changelog));
        assert!(record.get("a").unwrap().created);
        assert!(record.seen("a", "id-2", TopicRole::Changelog));
        assert!(!record.seen("a", "id-2", TopicRole::Changelog));
        let entry = record.get("a").unwrap();
        assert_eq!((entry.created, entry.replaced.as_deref()), (false, Some("id-1")));
        record.made(&topic("a"), "id-3");
        assert_eq!((record.get("a").unwrap().created, record.get("a").unwrap().replaced.clone()), (true, None));
    }
}
