//! **Scope**: random sequences of operations and answers against an independent model of QEMU. No
//! thread or slot is lost, freed too early or given twice, and no id of a thread is used twice.

mod qemu;
mod table;
mod world;

#[cfg(any(feature = "serde", feature = "tokio"))]
pub(super) use qemu::Qemu;
pub(super) use world::World;

/// In the default run, which is not optimised. `HOTPLUG_MODEL_SEQUENCES` sets another number, and
/// `HOTPLUG_MODEL_SEED` the first one, whose failure then shows all steps.
const SEQUENCES: u64 = 5_000;

/// Steps of a sequence, before the trouble ends.
const STEPS: u32 = 40;

#[test]
fn random_sequences_lose_nothing() {
    let sequences = std::env::var("HOTPLUG_MODEL_SEQUENCES");
    let sequences = sequences.map_or(SEQUENCES, |text| text.parse().unwrap());
    let seed = std::env::var("HOTPLUG_MODEL_SEED");
    let traces = seed.is_ok();
    let first = seed.map_or(1, |text| text.parse().unwrap());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let totals = std::thread::scope(|scope| {
        let run = |thread| {
            let seeds = (first..first + sequences).skip(thread as usize);
            let mut totals = [0; 4];
            for seed in seeds.step_by(threads as usize) {
                let counts = World::new(seed).traced(traces).run(STEPS);
                for (total, count) in totals.iter_mut().zip(counts) {
                    *total += count;
                }
            }
            totals
        };
        let workers: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || run(thread)))
            .collect();
        let totals = workers.into_iter().map(|worker| worker.join().unwrap());
        totals.fold([0; 4], |sum, add| std::array::from_fn(|n| sum[n] + add[n]))
    });
    let [operations, succeeded, faults, cancelled] = totals;
    println!(
        "{sequences} sequences: {operations} operations, {succeeded} succeeded, {cancelled} \
         cancelled, {faults} faults"
    );
    // Else the sequences would show nothing.
    assert!(succeeded > operations / 10, "{succeeded} of {operations}");
    assert!(faults > sequences && cancelled > sequences / 10);
}
