//! Where rounds are played: three brokers, and a cable from each worker to each of them.

use std::io;

use faust_testbed::KafkaCluster;

use super::NAMES;
use super::cables::{Cables, Plug};
use crate::wait;

/// Three brokers and the cables to them. One at a time is hurt.
pub struct Site {
    pub kafka: KafkaCluster,
    cables: Cables,
    /// Of each worker, in the brokers' order.
    plugs: Vec<[u16; KafkaCluster::NODES]>,
}

/// The topic in which Kafka keeps groups and their offsets.
pub const OFFSETS: &str = "__consumer_offsets";

impl Site {
    pub fn set() -> io::Result<Site> {
        let mut kafka = KafkaCluster::builder();
        let (mut plugs, mut ends) = (Vec::new(), Vec::new());
        for name in NAMES {
            let own = [Plug::new()?, Plug::new()?, Plug::new()?];
            let told = own.each_ref().map(|plug| plug.port);
            kafka = kafka.detour(name, told);
            ends.extend((1..).zip(own).map(|(broker, plug)| (plug, name, broker)));
            plugs.push(told);
        }
        let kafka = kafka.start()?;
        let ends = ends.into_iter().map(|(plug, name, broker)| (plug, kafka.behind(name, broker)));
        Ok(Site { cables: Cables::lay(ends.collect())?, kafka, plugs })
    }

    /// The brokers as a worker reaches them.
    pub fn bootstrap_of(&self, worker: usize) -> String {
        self.plugs[worker].map(|port| format!("127.0.0.1:{port}")).join(",")
    }

    pub fn cut(&self, worker: usize, broker: i32) {
        self.cables.cut(cable(worker, broker));
    }

    pub fn mend(&self, worker: usize, broker: i32) {
        self.cables.mend(cable(worker, broker));
    }

    /// Gives every partition of the topic to the next one of its brokers.
    pub fn move_leaders(&self, topic: &str) -> io::Result<()> {
        let known = self.kafka.partitions(topic)?.ok_or_else(|| io::Error::other(format!("there is no topic {topic}")))?;
        let next = |leader: i32| leader % KafkaCluster::NODES as i32 + 1;
        let leaders = (0..).zip(&known).filter_map(|(index, partition)| Some((index, next(partition.leader?))));
        self.kafka.move_leaders(topic, &leaders.collect::<Vec<_>>())
    }

    /// Waits until every broker has every record of the topics: before that another one must not be hurt.
    #[track_caller]
    pub fn until_in_sync(&self, topics: &[&str]) {
        wait::until("all brokers are in sync", || {
            for topic in topics {
                let known = self.kafka.partitions(topic).map_err(|error| error.to_string())?;
                let behind = |partition: &&faust_testbed::Partition| partition.in_sync.len() < KafkaCluster::NODES;
                if let Some(partition) = known.unwrap_or_default().iter().find(behind) {
                    return Err(format!("{topic}: {partition:?}"));
                }
            }
            Ok(())
        });
    }

    /// Whatever a round that failed has left: everything runs and every cable is whole.
    pub fn mend_all(&self) -> io::Result<()> {
        for cable in 0..NAMES.len() * KafkaCluster::NODES {
            self.cables.mend(cable);
        }
        self.kafka.nodes().iter().try_for_each(|node| match node.resume() {
            Ok(()) => Ok(()),
            Err(_) => node.restart(),
        })
    }
}

fn cable(worker: usize, broker: i32) -> usize {
    worker * KafkaCluster::NODES + broker as usize - 1
}
