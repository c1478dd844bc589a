//! Numbers, texts and tasks in few bytes.

use crate::topology::TaskId;

pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend(text.as_bytes());
}

/// Sorted tasks, group by group, each partition as the gap from the one before: one byte a task as a rule.
pub(super) fn put_tasks(out: &mut Vec<u8>, tasks: &[TaskId]) {
    let groups: Vec<_> = tasks.chunk_by(|a, b| a.group == b.group).collect();
    put_number(out, groups.len() as u64);
    for group in groups {
        put_number(out, group[0].group.into());
        put_number(out, group.len() as u64);
        let mut next = 0;
        for task in group {
            put_number(out, (task.partition - next).into());
            next = task.partition + 1;
        }
    }
}

/// Takes fields off the front of bytes that may be anything.
pub(super) struct Reader<'a> {
    pub version: u8,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn open(bytes: &'a [u8]) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        (version >= 1).then_some(Self { version, rest })
    }

    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    pub fn byte(&mut self) -> Option<u8> {
        Some(self.bytes(1)?[0])
    }

    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    pub fn text(&mut self) -> Option<String> {
        let length = self.number()?.try_into().ok()?;
        String::from_utf8(self.bytes(length)?.to_vec()).ok()
    }

    /// Nothing is reserved for a count that is only claimed: each task takes at least a byte, so the bytes bound the memory.
    pub fn tasks(&mut self) -> Option<Vec<TaskId>> {
        let mut tasks = Vec::new();
        for _ in 0..self.number()? {
            let group = self.small()?;
            let mut next = 0u32;
            for _ in 0..self.number()? {
                let partition = next.checked_add(self.small()?)?;
                tasks.push(TaskId { group, partition });
                next = partition.checked_add(1)?;
            }
        }
        Some(tasks)
    }

    pub fn hash(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.bytes(8)?.try_into().ok()?))
    }
}
