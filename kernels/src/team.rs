//! Threads that compute the pieces of one kernel after another and stay awake in between.
//!
//! A network on one picture, or a training step, is a sequence of many kernels of 0.1 to 10 ms. The threads of rayon's
//! pool fall asleep after each of them and have to be woken for the next. Inside [`lead`] they stay awake: the calling
//! thread, the leader, publishes each kernel as a [`Job`], and all threads take pieces of it until none is left. The
//! leader waits only for pieces that others have begun, and a piece never waits for anything, so there is no deadlock.

use std::{
    any::Any,
    cell::Cell,
    hint,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock, TryLockError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

/// What the current thread does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It does not belong to the team at present.
    Outside,
    /// It leads the team: its kernels are shared.
    Leader,
    /// It computes a piece, which is not divided further.
    Member,
}

thread_local! {
    static ROLE: Cell<Role> = const { Cell::new(Role::Outside) };
}

/// The role of the current thread.
pub(crate) fn role() -> Role {
    ROLE.get()
}

/// Sets the role of the current thread until it is dropped.
struct In(Role);

impl In {
    fn role(role: Role) -> Self {
        Self(ROLE.replace(role))
    }
}

impl Drop for In {
    fn drop(&mut self) {
        ROLE.set(self.0);
    }
}

/// A kernel: `work` for each number below `count`.
#[derive(Clone, Copy)]
struct Job {
    work: &'static (dyn Fn(usize) + Sync),
    count: usize,
}

/// A counter in a cache line (on some processors they are fetched in pairs) of its own.
#[repr(align(128))]
struct Counter(AtomicUsize);

struct Team {
    /// Held by the leader.
    led: Mutex<()>,
    /// Whether there is a leader. The others sleep while there is none.
    active: AtomicBool,
    /// Counts jobs, so that a member waits for the next one without touching the lock.
    jobs: AtomicUsize,
    /// The current job. Whoever computes pieces of it holds the lock for reading.
    job: RwLock<Option<Job>>,
    /// For each member the next piece of its share of the job. Members with fewer pieces left help the others; shares
    /// keep the data of consecutive kernels in the caches of the same core.
    next: Vec<Counter>,
    /// The first panic of a piece of the current job.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// The process's team, with one member for each thread of rayon's pool, and the threads beside the leader.
static TEAM: OnceLock<Option<(Arc<Team>, Vec<Thread>)>> = OnceLock::new();

/// Runs `work` as the leader of the team. Without it if another thread leads it already, or if the current thread is one
/// of rayon's, beside which others are busy.
pub(crate) fn lead<R>(work: impl FnOnce() -> R) -> R {
    let size = rayon::current_num_threads();
    if role() != Role::Outside || rayon::current_thread_index().is_some() {
        return work();
    }
    let Some((team, threads)) = TEAM.get_or_init(|| Team::of(size)) else {
        return work();
    };
    let _led = match team.led.try_lock() {
        Ok(led) => led,
        // An earlier leader panicked; nothing of it is left.
        Err(TryLockError::Poisoned(led)) => led.into_inner(),
        Err(TryLockError::WouldBlock) => return work(),
    };
    let _role = In::role(Role::Leader);
    let _active = Active::begin(team, threads);
    work()
}

/// Lets members sleep again when it is dropped.
struct Active<'a>(&'a Team);

impl<'a> Active<'a> {
    fn begin(team: &'a Team, threads: &[Thread]) -> Self {
        team.active.store(true, Ordering::Release);
        threads.iter().for_each(Thread::unpark);
        Self(team)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.active.store(false, Ordering::Release);
    }
}

/// Runs `work` on each item, in any order, on all members. The current thread is the leader.
pub(crate) fn each<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync) {
    let Some(Some((team, _))) = TEAM.get() else {
        return items.into_iter().for_each(work);
    };
    let items: Vec<_> = items
        .into_iter()
        .map(|item| Mutex::new(Some(item)))
        .collect();
    team.run(items.len(), &|index| {
        let item = items[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(item) = item {
            work(item);
        }
    });
}

impl Team {
    /// Starts the threads. None if that is impossible.
    fn of(size: usize) -> Option<(Arc<Self>, Vec<Thread>)> {
        let team = Arc::new(Self {
            led: Mutex::new(()),
            active: AtomicBool::new(false),
            jobs: AtomicUsize::new(0),
            job: RwLock::new(None),
            next: (0..size).map(|_| Counter(AtomicUsize::new(0))).collect(),
            panic: Mutex::new(None),
        });
        let threads = (1..size).map(|member| {
            let team = Arc::clone(&team);
            let thread = thread::Builder::new().name(format!("kernels {member}"));
            let thread = thread.spawn(move || team.help(member)).ok()?;
            Some(thread.thread().clone())
        });
        let threads = threads.collect::<Option<_>>()?;
        Some((team, threads))
    }

    /// Runs `work` for each number below `count` on all members.
    ///
    /// # Panics
    /// When `work` does.
    fn run(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        // SAFETY: only the lifetime changes. The reference is used by threads that hold `job` for reading. It is put there
        // below, and `Published` removes it, for which it needs the lock for writing, before this function returns or
        // unwinds. So nobody uses it afterwards.
        #[expect(unsafe_code, reason = "the proof is above")]
        let work: &'static (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(work) };
        let job = Job { work, count };
        let published = Published::new(self, job);
        self.take(0, &job);
        drop(published);
        let panic = self
            .panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Exchanges the job as soon as nobody computes pieces of the present one, and calls `prepare` in between.
    fn replace(&self, job: Option<Job>, prepare: impl FnOnce()) {
        let mut wait = Wait::default();
        loop {
            // Nobody panics while holding the lock for writing, so it is never poisoned.
            if let Ok(mut current) = self.job.try_write() {
                prepare();
                *current = job;
                return;
            }
            wait.a_moment();
        }
    }

    /// Computes pieces of a job until none is left to begin: first of the member's own share.
    fn take(&self, member: usize, job: &Job) {
        let _role = In::role(Role::Member);
        let size = self.next.len();
        for share in (member..size).chain(0..member) {
            let end = job.count * (share + 1) / size;
            loop {
                let piece = self.next[share].0.fetch_add(1, Ordering::Relaxed);
                if piece >= end {
                    break;
                }
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (job.work)(piece))) {
                    let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert(panic);
                }
            }
        }
    }

    /// What the threads do that never lead.
    fn help(&self, member: usize) {
        let mut seen = 0;
        loop {
            while !self.active.load(Ordering::Acquire) {
                thread::park();
            }
            let mut wait = Wait::default();
            while self.active.load(Ordering::Acquire) {
                let job = self.jobs.load(Ordering::Acquire);
                if job == seen {
                    wait.a_moment();
                } else {
                    seen = job;
                    // The lock is taken only while the leader exchanges the job.
                    if let Ok(job) = self.job.try_read()
                        && let Some(job) = &*job
                    {
                        self.take(member, job);
                    }
                    wait = Wait::default();
                }
            }
        }
    }
}

/// A job that the members see until this is dropped.
struct Published<'a>(&'a Team);

impl<'a> Published<'a> {
    fn new(team: &'a Team, job: Job) -> Self {
        let (count, size) = (job.count, team.next.len());
        team.replace(Some(job), || {
            for (share, next) in team.next.iter().enumerate() {
                next.0.store(count * share / size, Ordering::Relaxed);
            }
        });
        team.jobs.fetch_add(1, Ordering::Release);
        Self(team)
    }
}

impl Drop for Published<'_> {
    fn drop(&mut self) {
        self.0.replace(None, || {});
    }
}

/// Waits for something that another thread is about to do: for some 50 µs without giving the core away, then for
/// half a millisecond only if no other thread needs it. After that it sleeps, in case the leader waits for another process.
#[derive(Default)]
struct Wait(u32);

impl Wait {
    const SPINS: u32 = 1000;
    const YIELDS: u32 = 1000;
    const SLEEP: Duration = Duration::from_micros(50);

    fn a_moment(&mut self) {
        if self.0 < Self::SPINS {
            hint::spin_loop();
        } else if self.0 < Self::SPINS + Self::YIELDS {
            thread::yield_now();
        } else {
            return thread::sleep(Self::SLEEP);
        }
        self.0 += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::{Role, TEAM, each, lead, role};

    /// How often each of `count` pieces is computed, if `work` runs beside.
    fn counts(count: usize, work: impl Fn(usize) + Sync) -> Vec<usize> {
        let counts: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        each((0..count).collect(), |piece: usize| {
            counts[piece].fetch_add(1, Ordering::Relaxed);
            work(piece);
        });
        counts.into_iter().map(AtomicUsize::into_inner).collect()
    }

    /// Leads until it succeeds: tests of one process run at the same time.
    fn as_leader(work: impl Fn()) {
        let mut led = false;
        while !led {
            lead(|| {
                led = role() == Role::Leader;
                if led {
                    work();
                }
            });
            thread::yield_now();
        }
    }

    #[test]
    fn each_piece_is_computed_once_in_thousands_of_jobs() {
        as_leader(|| {
            for job in 0..20_000 {
                let count = job % 7;
                assert_eq!(counts(count, |_| ()), vec![1; count], "job {job}");
            }
        });
    }

    #[test]
    fn a_piece_may_use_kernels_itself() {
        as_leader(|| {
            let all = counts(9, |_| {
                assert!(role() == Role::Member);
                let mut inner = 0;
                crate::parallel::map(5, |piece| piece)
                    .into_iter()
                    .for_each(|piece| inner += piece);
                assert_eq!(inner, 10);
            });
            assert_eq!(all, vec![1; 9]);
            assert!(role() == Role::Leader);
        });
    }

    #[test]
    fn a_panic_reaches_the_leader_and_ends_nothing_else() {
        as_leader(|| {
            for bad in 0..6 {
                let result = catch_unwind(AssertUnwindSafe(|| {
                    counts(6, |piece| assert_ne!(piece, bad, "piece {bad} of six"));
                }));
                let panic = result.expect_err("one piece panics");
                let message = panic.downcast_ref::<String>().expect("a message");
                assert!(
                    message.contains(&format!("piece {bad} of six")),
                    "{message}"
                );
                assert_eq!(counts(6, |_| ()), [1; 6]);
            }
        });
    }

    #[test]
    fn a_leader_that_panics_leaves_the_team_to_the_next() {
        let result = catch_unwind(|| as_leader(|| panic!("on purpose")));
        assert!(result.is_err());
        assert!(role() == Role::Outside);
        as_leader(|| assert_eq!(counts(6, |_| ()), [1; 6]));
    }

    #[test]
    fn a_second_leader_does_without_the_team() {
        as_leader(|| {
            thread::scope(|scope| {
                scope.spawn(|| {
                    lead(|| assert!(role() == Role::Outside));
                });
            });
            lead(|| assert!(role() == Role::Leader, "a leader that leads again"));
        });
        assert!(role() == Role::Outside);
    }

    #[test]
    fn members_sleep_when_nobody_leads() {
        as_leader(|| {});
        let (team, _) = TEAM.get().and_then(Option::as_ref).expect("a team");
        let _led = team.led.lock();
        assert!(!team.active.load(Ordering::Acquire));
    }
}
