//! Policies: weights, and what a policy of the caller's may choose.

use super::*;

fn lease(pool: &mut Pool, n: usize, weight: u32) -> String {
    let demand = Demand::new(1).with_weight(weight);
    let lease = pool.lease_threads(&device(n), demand, &Placement::LeastLoaded);
    let lease = lease.unwrap();
    format!("{} ({})", lease.assignment.thread().unwrap(), lease.why)
}

#[test]
fn load_is_the_sum_of_weights() {
    let mut pool = pool(2, 0);
    let places = [8, 1, 1, 0].map(|weight| {
        let n = pool.save().leases.len();
        lease(&mut pool, n, weight)
    });
    assert_eq!(
        places,
        [
            "indep_iothread_0 (the least loaded, with 0 queues)",
            "indep_iothread_1 (the least loaded, with 0 queues)",
            "indep_iothread_1 (the least loaded, with 1 queue)",
            "indep_iothread_1 (the least loaded, with 2 queues)",
        ]
    );
    assert_eq!(
        lease(&mut pool, 4, 1),
        "indep_iothread_1 (the least loaded, with 3 queues of load 2)"
    );
    pool.release(&device(0)).unwrap();
    assert_eq!(
        lease(&mut pool, 5, 1),
        "indep_iothread_0 (the least loaded, with 0 queues)"
    );
}

/// Keeps the devices of one group on different threads.
struct Apart(Vec<DeviceId>);

impl Policy for Apart {
    fn choose(&self, request: &PlacementRequest<'_>, state: &State) -> Result<Choice, PoolError> {
        let has_none = |thread: &&ThreadState| {
            let mut devices = thread.devices.iter();
            !devices.any(|served| self.0.contains(&served.device))
        };
        let thread = state.least_loaded().find(has_none);
        let thread = thread.ok_or_else(|| PoolError::Policy {
            device: request.device.clone(),
            why: "each serves a device of its group".into(),
        })?;
        Ok(Choice::thread(&thread.id, "none of its group is there"))
    }
}

#[test]
fn policy_of_the_caller_chooses() {
    let mut pool = pool(2, 9);
    let apart = Apart((0..3).map(device).collect());
    pool.lease(&device(9), 4, &Placement::Pinned(IoThreadId::indep(1)))
        .unwrap();
    let mut thread = |n| {
        let lease = pool.lease(&device(n), 1, &apart)?;
        Ok::<_, PoolError>(lease.assignment.thread().unwrap().to_string())
    };
    assert_eq!(thread(0).unwrap(), "indep_iothread_0");
    assert_eq!(thread(1).unwrap(), "indep_iothread_1");
    assert_eq!(
        thread(2).unwrap_err().to_string(),
        "no IOThread for `disk2`: each serves a device of its group"
    );
}

/// Chooses always the same.
struct Always(Choice);

impl Policy for Always {
    fn choose(&self, _: &PlacementRequest<'_>, _: &State) -> Result<Choice, PoolError> {
        Ok(self.0.clone())
    }
}

#[test]
fn choice_that_breaks_a_rule_is_refused_and_takes_nothing() {
    let mut pool = pool(3, 9);
    let [own, shared, idle] = [0, 1, 2].map(IoThreadId::indep);
    pool.lease(&device(0), 1, &Placement::Dedicated).unwrap();
    pool.lease(&device(1), 1, &Placement::Pinned(shared.clone()))
        .unwrap();
    let before = pool.save();
    let unknown = IoThreadId::new("nope").unwrap();
    let mapped = |threads: Vec<(IoThreadId, Vec<u16>)>| {
        let mapping = VqMapping::explicit(threads).unwrap();
        Choice::new(Assignment::Mapped(mapping), "")
    };
    let cases = [
        (
            Choice::thread(&unknown, ""),
            "the pool has no IOThread `nope`; it has indep_iothread_0, indep_iothread_1, \
             indep_iothread_2",
        ),
        (
            Choice::thread(&own, ""),
            "IOThread `indep_iothread_0` is dedicated to `disk0`; use another thread",
        ),
        (
            mapped(vec![(idle.clone(), vec![0]), (own.clone(), vec![1])]),
            "IOThread `indep_iothread_0` is dedicated to `disk0`; use another thread",
        ),
        (
            Choice::thread(&shared, "").dedicated(),
            "IOThread `indep_iothread_1` cannot be dedicated to a device: it serves disk1",
        ),
        (
            mapped(vec![(idle.clone(), vec![0])]),
            "missing vq 1 IOThread assignment in iothread-vq-mapping",
        ),
    ];
    for (choice, message) in cases {
        let error = pool.lease(&device(2), 2, &Always(choice)).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(pool.save(), before);
    }
    let both = mapped(vec![(idle, vec![0])]);
    let error = pool.lease_thread(&device(2), &Always(both)).unwrap_err();
    assert_eq!(error, PoolError::OneThread { id: device(2) });
}

#[test]
fn several_threads_can_be_dedicated() {
    let mut pool = pool(3, 9);
    let both = VqMapping::round_robin([0, 1].map(IoThreadId::indep).to_vec()).unwrap();
    let both = Choice::new(Assignment::Mapped(both), "both").dedicated();
    pool.lease(&device(0), 2, &Always(both)).unwrap();
    let owners = pool.state().threads.into_iter().map(|t| t.dedicated_to);
    let owners: Vec<_> = owners.collect();
    assert_eq!(owners, [Some(device(0)), Some(device(0)), None]);
    assert_eq!(served(&mut pool, 1, &Placement::First), "indep_iothread_2");
}
