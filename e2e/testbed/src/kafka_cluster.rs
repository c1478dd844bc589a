//! Several brokers that are one Kafka: one may be killed, paused or restarted while the others go on.

use std::collections::BTreeMap;
use std::io;
use std::ops::Deref;

use crate::broker::Broker;
use crate::install::Heap;
use crate::kafka::{Kafka, Place};
use crate::node::Entrance;
use crate::port::Port;

/// A record is acknowledged when all but one of three have it, so that one may go.
const REPLICATED: [(&str, &str); 9] = [
    ("default.replication.factor", "3"),
    ("min.insync.replicas", "2"),
    ("offsets.topic.replication.factor", "3"),
    ("transaction.state.log.replication.factor", "3"),
    ("transaction.state.log.min.isr", "2"),
    ("share.coordinator.state.topic.replication.factor", "3"),
    ("share.coordinator.state.topic.min.isr", "2"),
    // Every listener has its own.
    ("num.network.threads", "1"),
    // Leaders stay where a test has put them.
    ("auto.leader.rebalance.enable", "false"),
];

/// Three brokers, each also a controller; what a client of all of them can do is [`Broker`]'s. Dropped, all are killed.
#[derive(Debug)]
pub struct KafkaCluster {
    all: Broker,
    nodes: Vec<Kafka>,
    /// Of each node, the port behind each detour.
    detours: Vec<BTreeMap<String, u16>>,
}

/// Settings of a cluster that is to be started.
#[derive(Debug, Default)]
pub struct KafkaClusterBuilder {
    detours: Vec<(String, [u16; KafkaCluster::NODES])>,
    settings: Vec<(String, String)>,
}

impl KafkaClusterBuilder {
    /// A line of every node's properties; it wins over the fixture's own.
    pub fn config(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// A listener of this name on every node, in letters and digits. Clients that come by it are told these ports of 127.0.0.1, in
    /// the nodes' order, and whoever listens there passes on to [`KafkaCluster::behind`].
    pub fn detour(mut self, name: &str, told: [u16; KafkaCluster::NODES]) -> Self {
        self.detours.push((name.to_ascii_uppercase(), told));
        self
    }

    /// Returns when all nodes serve.
    pub fn start(self) -> io::Result<KafkaCluster> {
        let settings: Vec<_> =
            REPLICATED.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().chain(self.settings).collect();
        let ports = |count: usize| (0..count).map(|_| Port::any()).collect::<io::Result<Vec<_>>>();
        let controllers = ports(KafkaCluster::NODES)?;
        let numbers: Vec<u16> = controllers.iter().map(Port::number).collect();
        let (mut nodes, mut behind) = (Vec::new(), Vec::new());
        for (index, controller) in controllers.into_iter().enumerate() {
            let own = Port::any()?;
            let taken = ports(self.detours.len())?;
            let detour = |((name, told), port): (&(String, [u16; KafkaCluster::NODES]), &Port)| Entrance {
                name: name.clone(),
                port: port.number(),
                advertised: told[index],
            };
            let entrances: Vec<Entrance> = self.detours.iter().zip(&taken).map(detour).collect();
            let place =
                Place { id: index + 1, port: own.number(), controllers: &numbers, entrances: &entrances, heap: Heap::OF_SEVERAL };
            nodes.push(Kafka::at(place, &settings, taken.into_iter().chain([own, controller]).collect())?);
            behind.push(entrances.into_iter().map(|entrance| (entrance.name, entrance.port)).collect());
        }
        // None serves before most of the controllers are there.
        let logged = nodes.iter().map(Kafka::begin).collect::<io::Result<Vec<_>>>()?;
        for (node, before) in nodes.iter().zip(logged) {
            node.await_started(before)?;
        }
        let bootstrap = nodes.iter().map(|node| node.bootstrap()).collect::<Vec<_>>().join(",");
        let all = Broker { bootstrap, log: nodes[0].logs().to_owned() };
        Ok(KafkaCluster { all, nodes, detours: behind })
    }
}

impl KafkaCluster {
    pub const NODES: usize = 3;

    /// Three brokers with the fixture's settings.
    pub fn start() -> io::Result<KafkaCluster> {
        Self::builder().start()
    }

    pub fn builder() -> KafkaClusterBuilder {
        KafkaClusterBuilder::default()
    }

    /// The node that Kafka knows by this id: 1, 2 or 3.
    pub fn node(&self, id: i32) -> &Kafka {
        &self.nodes[id as usize - 1]
    }

    /// All nodes, in the order of their ids.
    pub fn nodes(&self) -> &[Kafka] {
        &self.nodes
    }

    /// The port that a node listens on for those that come by a detour.
    pub fn behind(&self, detour: &str, id: i32) -> u16 {
        self.detours[id as usize - 1][&detour.to_ascii_uppercase()]
    }
}

impl Deref for KafkaCluster {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.all
    }
}
