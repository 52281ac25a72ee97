//! Ranks as threads of one process: one for each device.
//!
//! The threads exchange lists through memory that all of them see. A barrier of the standard library would wait for
//! ever for a thread that has ended, so waiting is our own: it ends with an error when a rank has ended.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use densecl::world::{World, tree_sum};
use densecl::{Error, Result};

/// The lists that the ranks gave in one exchange, in the order of the ranks.
#[derive(Debug, Clone)]
enum Given {
    Numbers(Arc<Vec<Vec<f32>>>),
    Bytes(Arc<Vec<Vec<u8>>>),
}

/// What a rank gives.
enum Own {
    Numbers(Vec<f32>),
    Bytes(Vec<u8>),
}

#[derive(Debug, Default)]
struct State {
    numbers: Vec<Vec<f32>>,
    bytes: Vec<Vec<u8>>,
    /// Ranks that have given their list in the exchange under way.
    arrived: usize,
    /// Exchanges completed so far, and the lists of the last one.
    exchanges: u64,
    given: Option<Given>,
    /// Ranks that have not taken the lists of the last exchange yet.
    waiting: usize,
    /// Why a rank has ended.
    ended: Option<String>,
}

#[derive(Debug)]
struct Shared {
    size: usize,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ranks of a process from the view of one of its threads.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    shared: Arc<Shared>,
}

impl Threads {
    /// The worlds of `size` ranks, one for each thread.
    pub fn worlds(size: usize) -> Vec<Self> {
        let shared = Arc::new(Shared {
            size,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let world = |rank| Self {
            rank,
            shared: Arc::clone(&shared),
        };
        (0..size).map(world).collect()
    }

    /// A guard of this rank: if it is dropped before [`Guard::finished`], the other ranks end too.
    pub fn guard(&self) -> Guard {
        Guard {
            rank: self.rank,
            shared: Arc::clone(&self.shared),
            why: Some("it has ended unexpectedly".to_string()),
        }
    }

    /// Gives `own` to the others and returns the lists of all ranks.
    fn exchange(&self, own: Own) -> Result<Given> {
        let Shared { size, changed, .. } = &*self.shared;
        let mut state = self.shared.lock();
        if let Some(why) = &state.ended {
            return Err(Error::Ranks(why.clone()));
        }
        match own {
            Own::Numbers(list) => {
                state.numbers.resize(*size, Vec::new());
                state.numbers[self.rank] = list;
            }
            Own::Bytes(list) => {
                state.bytes.resize(*size, Vec::new());
                state.bytes[self.rank] = list;
            }
        }
        state.arrived += 1;
        if state.arrived == *size {
            let numbers = std::mem::take(&mut state.numbers);
            let bytes = std::mem::take(&mut state.bytes);
            let given = if numbers.is_empty() {
                Given::Bytes(Arc::new(bytes))
            } else {
                Given::Numbers(Arc::new(numbers))
            };
            state.arrived = 0;
            state.exchanges += 1;
            state.waiting = size - 1;
            state.given = (*size > 1).then(|| given.clone());
            changed.notify_all();
            return Ok(given);
        }
        let own = state.exchanges;
        while state.exchanges == own {
            if let Some(why) = &state.ended {
                return Err(Error::Ranks(why.clone()));
            }
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // No rank can complete the next exchange before this one has taken part in it.
        state.waiting -= 1;
        let given = match state.waiting {
            0 => state.given.take(),
            _ => state.given.clone(),
        };
        given.ok_or_else(|| Error::Ranks("the exchange was lost".to_string()))
    }

    fn numbers(&self, own: Vec<f32>) -> Result<Arc<Vec<Vec<f32>>>> {
        match self.exchange(Own::Numbers(own))? {
            Given::Numbers(all) => Ok(all),
            Given::Bytes(_) => Err(differ()),
        }
    }
}

fn differ() -> Error {
    Error::Ranks("the ranks are at different places of the program".to_string())
}

impl World for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.shared.size
    }

    /// Each rank adds a part of the values over all ranks, and gives the others its sums.
    fn sum(&mut self, values: Vec<f32>) -> Result<Vec<f32>> {
        let (rank, size, count) = (self.rank, self.shared.size, values.len());
        let all = self.numbers(values)?;
        if all.iter().any(|values| values.len() != count) {
            return Err(differ());
        }
        let part = count.div_ceil(size);
        let own = (rank * part).min(count)..((rank + 1) * part).min(count);
        let parts: Vec<&[f32]> = all.iter().map(|values| &values[own.clone()]).collect();
        let sum = tree_sum(&parts);
        drop(all);
        Ok(self.numbers(sum)?.concat())
    }

    fn gather(&mut self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        match self.exchange(Own::Bytes(bytes))? {
            // The last rank to take the lists needs no copy.
            Given::Bytes(all) => Ok(Arc::try_unwrap(all).unwrap_or_else(|all| (*all).clone())),
            Given::Numbers(_) => Err(differ()),
        }
    }
}

/// Ends the other ranks when a rank ends by an error or a panic.
#[derive(Debug)]
pub struct Guard {
    rank: usize,
    shared: Arc<Shared>,
    why: Option<String>,
}

impl Guard {
    /// The rank has ended as it should.
    pub fn finished(mut self) {
        self.why = None;
    }

    /// The rank ends because of `why`.
    pub fn failed(mut self, why: &str) {
        self.why = Some(why.to_string());
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(why) = self.why.take() else { return };
        let mut state = self.shared.lock();
        // The first reason counts; the others follow from it.
        let rank = self.rank;
        state
            .ended
            .get_or_insert_with(|| format!("rank {rank}: {why}"));
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side_by_side<T: Send>(size: usize, work: impl Fn(&mut Threads) -> T + Sync) -> Vec<T> {
        let worlds = Threads::worlds(size);
        std::thread::scope(|scope| {
            let started = worlds.into_iter().map(|mut world| {
                let work = &work;
                scope.spawn(move || work(&mut world))
            });
            let started: Vec<_> = started.collect();
            let ended = started
                .into_iter()
                .map(|thread| thread.join().expect("no panic"));
            ended.collect()
        })
    }

    #[test]
    fn all_ranks_get_the_same_sum_and_all_lists_in_order() {
        for (size, count) in [(1, 5), (2, 7), (4, 3), (3, 100)] {
            let all = side_by_side(size, |world| {
                let rank = world.rank();
                // Several rounds, so that a rank that is ahead meets the lists of the round before.
                (0..20).fold((Vec::new(), Vec::new()), |_, round| {
                    let own = (0..count).map(|i| 0.1 * (i + rank * 7 + round) as f32);
                    let sum = world.sum(own.collect()).expect("nobody ends");
                    let bytes = vec![round as u8; rank];
                    (sum, world.gather(bytes).expect("nobody ends"))
                })
            });
            let own = |rank: usize| -> Vec<f32> {
                let values = (0..count).map(|i| 0.1 * (i + rank * 7 + 19) as f32);
                values.collect()
            };
            let lists: Vec<Vec<f32>> = (0..size).map(own).collect();
            let lists: Vec<&[f32]> = lists.iter().map(Vec::as_slice).collect();
            let bytes: Vec<Vec<u8>> = (0..size).map(|rank| vec![19; rank]).collect();
            for (sum, gathered) in all {
                assert_eq!(sum, tree_sum(&lists), "{size} ranks");
                assert_eq!(gathered, bytes, "{size} ranks");
            }
        }
    }

    #[test]
    fn a_rank_that_ends_ends_the_others() {
        let all = side_by_side(3, |world| {
            let guard = world.guard();
            if world.rank() == 1 {
                guard.failed("no more data");
                return None;
            }
            let error = world.gather(Vec::new()).expect_err("rank 1 has ended");
            guard.finished();
            Some(error.to_string())
        });
        assert_eq!(all[1], None);
        for rank in [0, 2] {
            assert_eq!(all[rank].as_deref(), Some("rank 1: no more data"));
        }
    }

    #[test]
    fn a_rank_that_panics_ends_the_others() {
        let mut worlds = Threads::worlds(2);
        let other = worlds.pop().expect("two");
        let thread = std::thread::spawn(move || {
            let _guard = other.guard();
            std::panic::resume_unwind(Box::new("as tested"));
        });
        let error = worlds[0].sum(vec![1.0]).expect_err("the other has ended");
        assert!(error.to_string().contains("rank 1"), "{error}");
        assert!(thread.join().is_err());
    }
}
