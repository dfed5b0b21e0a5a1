//! MurmurHash3, the 32-bit variant for x86 with seed 0: the hash under flagd's `fractional`.
//!
//! Takes its input in parts, so that nobody has to join a salt and a unit, or to keep an encoding, in order to hash it.
//! Not a hash to defend anything with.

const C1: u32 = 0xCC9E_2D51;
const C2: u32 = 0x1B87_3593;

/// A hash in the making.
#[derive(Debug, Clone, Copy, Default)]
pub struct Murmur3 {
    state: u32,
    /// Up to three bytes that do not make a block yet.
    rest: [u8; 4],
    length: usize,
}

/// The hash of some bytes.
pub fn murmur3(bytes: &[u8]) -> u32 {
    let mut hasher = Murmur3::default();
    hasher.update(bytes);
    hasher.finish()
}

impl Murmur3 {
    /// Takes in more bytes. How the input is cut into parts does not matter.
    #[inline]
    pub fn update(&mut self, bytes: &[u8]) {
        let held = self.length % 4;
        self.length = self.length.wrapping_add(bytes.len());
        let mut bytes = bytes;
        if held > 0 {
            let (head, tail) = bytes.split_at(bytes.len().min(4 - held));
            self.rest[held..held + head.len()].copy_from_slice(head);
            if held + head.len() < 4 {
                return;
            }
            self.block(self.rest);
            bytes = tail;
        }
        let (blocks, tail) = bytes.as_chunks::<4>();
        for block in blocks {
            self.block(*block);
        }
        self.rest[..tail.len()].copy_from_slice(tail);
    }

    /// The hash of everything taken in.
    #[inline]
    pub fn finish(self) -> u32 {
        let mut hash = self.state;
        let held = self.length % 4;
        if held > 0 {
            let mut last = [0; 4];
            last[..held].copy_from_slice(&self.rest[..held]);
            hash ^= mixed(last);
        }
        // The length is part of the hash modulo 2³².
        hash ^= self.length as u32;
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x85EB_CA6B);
        hash = (hash ^ (hash >> 13)).wrapping_mul(0xC2B2_AE35);
        hash ^ (hash >> 16)
    }

    #[inline]
    fn block(&mut self, block: [u8; 4]) {
        self.state = (self.state ^ mixed(block)).rotate_left(13).wrapping_mul(5).wrapping_add(0xE654_6B64);
    }
}

#[inline]
fn mixed(block: [u8; 4]) -> u32 {
    u32::from_le_bytes(block).wrapping_mul(C1).rotate_left(15).wrapping_mul(C2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_inputs_have_their_known_hashes() {
        for (text, hash) in [
            ("", 0),
            ("ejOoVL", 0),
            ("bY9fO-", 1),
            ("SI7p-", 2_147_483_647),
            ("6LvT0", 2_147_483_648),
            ("ceQdGm", 4_294_967_295),
            ("jon@company.com", 1_557_731_397),
            ("user1", 3_305_849_917),
        ] {
            assert_eq!(murmur3(text.as_bytes()), hash, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parts_hash_like_the_whole(bytes: Vec<u8>, cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut hasher = Murmur3::default();
            cuts.windows(2).for_each(|cut| hasher.update(&bytes[cut[0]..cut[1]]));
            prop_assert_eq!(hasher.finish(), murmur3(&bytes));
        }
    }
}
