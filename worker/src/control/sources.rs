//! Looks whether the source topics still are what this worker has joined with. Each member looks for itself: those that have seen a
//! change and those that haven't don't take each other's assignments for their own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::log::{Log, TopicFacts};
use crate::topology::Groups;

/// A broker that has just come may not know every topic yet: what was seen is looked at once more after this long.
const CONFIRM: Duration = Duration::from_secs(1);

/// Resolves with a sentence when a source topic has another number of partitions, has gone, or was made anew.
pub(super) async fn changed(log: Arc<dyn Log>, groups: Groups, every: Duration) -> String {
    let names: Vec<String> = groups.iter().flat_map(|group| group.topics.clone()).collect();
    let mut known = HashMap::new();
    let mut pause = Duration::ZERO;
    loop {
        tokio::time::sleep(pause).await;
        pause = every;
        // Said elsewhere, by what needs the answer.
        let Ok(facts) = log.topics(&names).await else { continue };
        if difference(&groups, &known, &facts).is_none() {
            known = facts;
            continue;
        }
        tokio::time::sleep(CONFIRM).await;
        let Ok(facts) = log.topics(&names).await else { continue };
        if let Some(why) = difference(&groups, &known, &facts) {
            return why;
        }
    }
}

/// The first that isn't as it was, in a sentence. `known` has the topics as they were seen before, if they were.
fn difference(groups: &Groups, known: &HashMap<String, TopicFacts>, now: &HashMap<String, TopicFacts>) -> Option<String> {
    let topics = groups.iter().flat_map(|group| group.topics.iter().map(|topic| (topic, group.partitions)));
    topics.into_iter().find_map(|(topic, partitions)| match now.get(topic) {
        None => Some(format!("source topic `{topic}` doesn't exist any more")),
        Some(now) if now.partitions != partitions => {
            Some(format!("source topic `{topic}` has {} partitions now, and had {partitions}", now.partitions))
        }
        Some(now) => {
            let anew = known.get(topic).is_some_and(|before| before.id != now.id);
            anew.then(|| format!("source topic `{topic}` was deleted and made anew"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::CoPartitioned;

    #[test]
    fn a_topic_that_grew_went_or_was_made_anew_is_named() {
        let group = CoPartitioned { topics: vec!["a".into(), "b".into()], partitions: 4, stateful: false, standbys: 0 };
        let facts = |id: u8, partitions| TopicFacts { id: [id; 16], partitions };
        let both = |b| HashMap::from([("a".to_string(), facts(1, 4)), ("b".to_string(), b)]);
        let (groups, known) = (vec![group], both(facts(2, 4)));
        let now = |now: HashMap<String, TopicFacts>| difference(&groups, &known, &now).unwrap_or_default();
        assert_eq!(now(known.clone()), "");
        assert_eq!(now(both(facts(2, 6))), "source topic `b` has 6 partitions now, and had 4");
        assert_eq!(now(both(facts(3, 4))), "source topic `b` was deleted and made anew");
        assert_eq!(now(HashMap::from([("b".to_string(), facts(2, 4))])), "source topic `a` doesn't exist any more");
    }
}
