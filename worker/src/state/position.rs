//! How a position is written beside the rows: a version byte, then its fields, big-endian.

use super::{Position, StoreError};

const VERSION: u8 = 1;
const LENGTH: usize = 1 + 16 + 8 + 4 + 8;

pub(super) fn encode(position: &Position) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[0] = VERSION;
    bytes[1..17].copy_from_slice(&position.topic_id);
    bytes[17..25].copy_from_slice(&position.next_offset.to_be_bytes());
    bytes[25..29].copy_from_slice(&position.leader_epoch.to_be_bytes());
    bytes[29..].copy_from_slice(&position.written_at.to_be_bytes());
    bytes
}

/// What can't be decoded is corrupt: the changelog has all that is needed to write it anew.
pub(super) fn decode(bytes: &[u8]) -> Result<Position, StoreError> {
    let Some((&VERSION, fields)) = bytes.split_first() else {
        return Err(StoreError::Corrupt(format!("its position has format {:?}, this worker knows {VERSION}", bytes.first())));
    };
    split(fields).ok_or_else(|| StoreError::Corrupt(format!("its position has {} bytes instead of {LENGTH}", bytes.len())))
}

fn split(fields: &[u8]) -> Option<Position> {
    let (topic_id, fields) = fields.split_first_chunk()?;
    let (next_offset, fields) = fields.split_first_chunk()?;
    let (leader_epoch, fields) = fields.split_first_chunk()?;
    let written_at = fields.try_into().ok()?;
    Some(Position {
        topic_id: *topic_id,
        next_offset: i64::from_be_bytes(*next_offset),
        leader_epoch: i32::from_be_bytes(*leader_epoch),
        written_at: i64::from_be_bytes(written_at),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_of_version_1_stay_as_they_are() {
        let position = Position { topic_id: [0xab; 16], next_offset: 258, leader_epoch: -1, written_at: 1 };
        let mut expected = vec![1];
        expected.extend([0xab; 16]);
        expected.extend([0, 0, 0, 0, 0, 0, 1, 2]);
        expected.extend([0xff; 4]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(encode(&position).to_vec(), expected);
    }

    #[test]
    fn an_unknown_version_and_a_wrong_length_are_corrupt() {
        let bytes = encode(&Position { topic_id: [1; 16], next_offset: 5, leader_epoch: 0, written_at: 0 });
        for broken in [&[][..], &[2], &bytes[..LENGTH - 1], &[&bytes[..], &[0]].concat()] {
            assert!(matches!(decode(broken), Err(StoreError::Corrupt(_))), "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn every_position_comes_back(topic_id: [u8; 16], next_offset: i64, leader_epoch: i32, written_at: i64) {
            let position = Position { topic_id, next_offset, leader_epoch, written_at };
            prop_assert_eq!(decode(&encode(&position)), Ok(position));
        }
    }
}
