//! What the app declares, as plain data: topics, agents, tables and which of them are used together.

/// A task is one partition of a co-partition group: the same partition of every topic and table that its agents use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TaskId {
    /// Index into [`Groups`].
    pub group: u32,
    pub partition: u32,
}

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}", self.group, self.partition)
    }
}

/// The co-partition groups of an app with the partition counts found in Kafka, in an order that every worker of the app agrees on.
pub(crate) type Groups = Vec<CoPartitioned>;

/// Topics that are read together: equal partition counts, and partition *n* of all of them is one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoPartitioned {
    /// Source topics, sorted.
    pub topics: Vec<String>,
    pub partitions: u32,
}
