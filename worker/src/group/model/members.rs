//! The members of the group, in the order in which they came.

use bytes::Bytes;

use super::Token;

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub id: String,
    pub instance: Option<String>,
    pub session: u64,
    pub rebalance: u64,
    /// Of its assignment protocol: what others are told of it.
    pub protocol: String,
    pub metadata: Bytes,
    pub assignment: Bytes,
    /// Its JoinGroup, or SyncGroup, that waits for an answer.
    pub joining: Option<Token>,
    pub syncing: Option<Token>,
    /// When its session ends; never while one of its requests waits.
    pub expires: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Members(Vec<Member>);

impl Members {
    pub fn add(&mut self, member: Member) {
        self.0.push(member);
    }

    pub fn get(&self, id: &str) -> Option<&Member> {
        self.0.iter().find(|member| member.id == id)
    }

    /// One that was looked up before.
    pub fn named(&mut self, id: &str) -> &mut Member {
        self.0.iter_mut().find(|member| member.id == id).expect("a member that was looked up")
    }

    pub fn of_instance(&self, instance: &str) -> Option<&Member> {
        self.0.iter().find(|member| member.instance.as_deref() == Some(instance))
    }

    pub fn remove(&mut self, id: &str) -> Option<Member> {
        let at = self.0.iter().position(|member| member.id == id)?;
        Some(self.0.remove(at))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.0.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.0.iter_mut()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How long a rebalance waits for them.
    pub fn patience(&self) -> u64 {
        self.0.iter().map(|member| member.rebalance).max().unwrap_or(0)
    }
}
