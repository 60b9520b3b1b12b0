//! The choice of data servers for a new extent: by weight, free space and load, on the writer's own
//! machine first where that is wanted; the same for the same seed.
//!
//! Never here: making objects, knowing who is healthy.

use crate::{Capability, DataServerId};

/// A data server as placement sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub server: DataServerId,
    /// The operator's, 1 by default; 0 takes no new files.
    pub weight: u32,
    pub free_bytes: u64,
    pub total_bytes: u64,
    /// Requests under way or expected, in any unit that all candidates share; 0 is idle.
    pub load: u32,
    /// It runs on the host of the client that writes the new file.
    pub host_matches: bool,
    pub healthy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// Different data servers for each copy.
    pub spread: u32,
    /// Objects of each copy: a power of two, at least `spread`.
    pub stripes: u32,
    pub copies: u32,
    /// A data server with less free space takes no new file.
    pub reserve_bytes: u64,
    /// Data servers on the writer's machine come before all others.
    pub local_first: bool,
}

impl Want {
    /// For the file's creator: one data server a copy, unless its kernel proved that it stripes.
    /// A spread that is no power of two gets more stripes than servers, because some kernels lose
    /// count past 4 GiB otherwise (fact 11).
    pub fn by_creator(
        capability: Capability,
        spread: u32,
        copies: u32,
        reserve_bytes: u64,
    ) -> Self {
        let spread = if capability.stripes { spread.max(1) } else { 1 };
        Self {
            spread,
            stripes: spread.next_power_of_two(),
            copies: copies.max(1),
            reserve_bytes,
            local_first: false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    #[error("{wanted} data servers are needed for a new file, {known} are known")]
    TooFewKnown { wanted: u32, known: u32 },
    #[error("{wanted} data servers are needed for a new file, {healthy} of {known} answer")]
    TooFewHealthy {
        wanted: u32,
        healthy: u32,
        known: u32,
    },
    #[error(
        "{wanted} data servers are needed for a new file, {with_room} of the {healthy} that answer have room"
    )]
    Full {
        wanted: u32,
        with_room: u32,
        healthy: u32,
    },
}

/// The servers of each copy, one for each of its stripes. All copies lie on different servers.
pub fn place(
    candidates: &[Candidate],
    want: Want,
    seed: u64,
) -> Result<Vec<Vec<DataServerId>>, NoPlace> {
    let wanted = want.spread.max(1).saturating_mul(want.copies.max(1));
    let usable = |c: &&Candidate| c.weight > 0;
    let known = candidates.iter().filter(usable).count() as u32;
    let healthy: Vec<&Candidate> = candidates
        .iter()
        .filter(usable)
        .filter(|c| c.healthy)
        .collect();
    let with_room: Vec<&Candidate> = healthy
        .iter()
        .copied()
        .filter(|c| c.free_bytes > want.reserve_bytes)
        .collect();
    let (healthy_count, room_count) = (healthy.len() as u32, with_room.len() as u32);
    if known < wanted {
        return Err(NoPlace::TooFewKnown { wanted, known });
    }
    if healthy_count < wanted {
        return Err(NoPlace::TooFewHealthy {
            wanted,
            healthy: healthy_count,
            known,
        });
    }
    if room_count < wanted {
        return Err(NoPlace::Full {
            wanted,
            with_room: room_count,
            healthy: healthy_count,
        });
    }
    let mut drawn: Vec<(bool, f64, DataServerId)> = with_room
        .iter()
        .map(|c| {
            let local = want.local_first && c.host_matches;
            (!local, draw(c, seed), c.server)
        })
        .collect();
    // The writer's own host first if wanted (fact 27), then by the draw; the id decides between equals.
    drawn.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
    let spread = want.spread.max(1) as usize;
    let stripes = (want.stripes.max(1) as usize).max(spread);
    Ok(drawn[..wanted as usize]
        .chunks(spread)
        .map(|copy| (0..stripes).map(|stripe| copy[stripe % spread].2).collect())
        .collect())
}

/// Draws without replacement in proportion to worth: the smallest of `-ln(u) / worth` win.
fn draw(candidate: &Candidate, seed: u64) -> f64 {
    let free = candidate.free_bytes as f64 / candidate.total_bytes.max(1) as f64;
    let worth =
        f64::from(candidate.weight) * free.clamp(1e-6, 1.0) / (1.0 + f64::from(candidate.load));
    let bits = scramble(seed ^ scramble(u64::from(candidate.server.0) + 1)) >> 11;
    let uniform = (bits as f64 + 0.5) / (1u64 << 53) as f64;
    -uniform.ln() / worth
}

/// Spreads the bits of a number over all 64 (the finaliser of SplitMix64).
fn scramble(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn candidate(server: u32, free_percent: u64) -> Candidate {
        Candidate {
            server: DataServerId(server),
            weight: 1,
            free_bytes: free_percent << 30,
            total_bytes: 100 << 30,
            load: 0,
            host_matches: false,
            healthy: true,
        }
    }

    fn want(spread: u32, copies: u32) -> Want {
        Want {
            spread,
            stripes: spread.next_power_of_two(),
            copies,
            reserve_bytes: 1 << 20,
            local_first: false,
        }
    }

    fn times_chosen(candidates: &[Candidate], server: u32) -> usize {
        (0..2000)
            .filter(|seed| {
                place(candidates, want(1, 1), *seed) == Ok(vec![vec![DataServerId(server)]])
            })
            .count()
    }

    #[test]
    fn free_space_weight_and_load_draw_new_files() {
        let even = [candidate(1, 50), candidate(2, 50)];
        assert!((850..1150).contains(&times_chosen(&even, 1)));
        let emptier = [candidate(1, 90), candidate(2, 10)];
        assert!(times_chosen(&emptier, 1) > 1700);
        let heavier = [
            Candidate {
                weight: 3,
                ..candidate(1, 50)
            },
            candidate(2, 50),
        ];
        assert!((1350..1650).contains(&times_chosen(&heavier, 1)));
        let busy = [
            Candidate {
                load: 9,
                ..candidate(1, 50)
            },
            candidate(2, 50),
        ];
        assert!(times_chosen(&busy, 1) < 300);
    }

    #[test]
    fn fact_27_the_first_copy_lies_on_the_writers_host_where_that_is_wanted() {
        let servers = [
            candidate(1, 99),
            Candidate {
                host_matches: true,
                ..candidate(2, 5)
            },
            candidate(3, 99),
        ];
        for seed in 0..50 {
            let local = Want {
                local_first: true,
                ..want(1, 2)
            };
            let placed = place(&servers, local, seed).expect("three servers hold two copies");
            assert_eq!(placed[0], [DataServerId(2)]);
        }
        assert!(times_chosen(&servers, 2) < 200, "free space alone decides");
    }

    #[test]
    fn what_is_impossible_is_refused_with_its_reason() {
        let servers = [
            candidate(1, 50),
            Candidate {
                healthy: false,
                ..candidate(2, 50)
            },
            candidate(3, 0),
        ];
        assert_eq!(
            place(&servers, want(4, 1), 0),
            Err(NoPlace::TooFewKnown {
                wanted: 4,
                known: 3
            })
        );
        assert_eq!(
            place(&servers, want(3, 1), 0),
            Err(NoPlace::TooFewHealthy {
                wanted: 3,
                healthy: 2,
                known: 3
            })
        );
        assert_eq!(
            place(&servers, want(2, 1), 0),
            Err(NoPlace::Full {
                wanted: 2,
                with_room: 1,
                healthy: 2
            })
        );
        assert_eq!(
            place(&servers, want(1, 1), 0),
            Ok(vec![vec![DataServerId(1)]])
        );
    }

    #[test]
    fn three_servers_carry_a_file_of_four_stripes() {
        let servers = [candidate(1, 50), candidate(2, 50), candidate(3, 50)];
        let new = Capability {
            stripes: true,
            many_extents: true,
        };
        let placed =
            place(&servers, Want::by_creator(new, 3, 1, 0), 1).expect("three servers are there");
        assert_eq!(placed[0].len(), 4);
        assert_eq!(placed[0].iter().collect::<HashSet<_>>().len(), 3);
        let old = place(
            &servers,
            Want::by_creator(Capability::default(), 3, 1, 0),
            1,
        )
        .expect("one is enough");
        assert_eq!(old[0].len(), 1);
    }

    proptest! {
        #[test]
        fn copies_never_share_a_server_and_a_seed_gives_one_answer(
            servers in 1u32..24, spread in 1u32..5, copies in 1u32..4, seed: u64,
        ) {
            let candidates: Vec<_> = (1..=servers).map(|s| candidate(s, u64::from(s) * 4)).collect();
            let placed = place(&candidates, want(spread, copies), seed);
            prop_assert_eq!(&placed, &place(&candidates, want(spread, copies), seed));
            match placed {
                Ok(placed) => {
                    let used: usize = placed.iter().map(|copy| copy.iter().collect::<HashSet<_>>().len()).sum();
                    let all: HashSet<_> = placed.iter().flatten().collect();
                    prop_assert_eq!(used, (spread * copies) as usize);
                    prop_assert_eq!(all.len(), used);
                }
                Err(_) => prop_assert!(servers < spread * copies),
            }
        }
    }
}
