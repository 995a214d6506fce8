//! Where a number lies on an axis, and what stands beside it.

use maud::{Markup, html};

/// An axis from one number to another, in equal steps or, over more than a decade and a half, in
/// equal ratios.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
}

/// Beyond this ratio equal steps would squeeze the small numbers together.
const WIDE: f64 = 30.0;

impl Scale {
    /// An axis that holds all these numbers, which are finite and not negative.
    pub(super) fn over(numbers: impl Iterator<Item = f64> + Clone) -> Self {
        let high = numbers.clone().fold(0.0, f64::max);
        let low = numbers.filter(|number| *number > 0.0).fold(high, f64::min);
        if low > 0.0 && high / low > WIDE {
            return Self::log(low, high);
        }
        let step = step(high);
        Self {
            low: 0.0,
            high: (high / step).ceil().max(1.0) * step,
            is_log: false,
        }
    }

    /// An axis in equal ratios, from a mark below the one to a mark above the other.
    pub(super) fn log(low: f64, high: f64) -> Self {
        let marks = || marks(low, high);
        let below = marks().rfind(|mark| *mark <= low).unwrap_or(low);
        let above = marks().find(|mark| *mark >= high).unwrap_or(high);
        Self {
            low: below,
            high: above,
            is_log: true,
        }
    }

    /// How far along a number lies, in percent.
    pub(super) fn at(&self, number: f64) -> f64 {
        let part = if self.is_log {
            (number.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (number - self.low) / (self.high - self.low)
        };
        // Thousandths of a pixel serve nobody.
        (part.clamp(0.0, 1.0) * 1e4).round() / 1e2
    }

    /// The numbers that are written on it.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if !self.is_log {
            let step = step(self.high);
            let count = (self.high / step).round();
            let ticks = std::iter::successors(Some(0.0), |tick| Some(tick + 1.0));
            return ticks
                .take_while(|tick| *tick <= count)
                .map(|tick| tick * step)
                .collect();
        }
        let inside: Vec<f64> = marks(self.low, self.high)
            .filter(|mark| (self.low..=self.high).contains(mark))
            .collect();
        // As many as can be read: every mark, or the powers of ten.
        if inside.len() <= 8 {
            return inside;
        }
        let is_power = |mark: &f64| (mark.log10() - mark.log10().round()).abs() < 1e-9;
        inside.into_iter().filter(is_power).collect()
    }

    /// The axis with its numbers.
    pub(super) fn axis(&self, unit: &str) -> Markup {
        html! {
            div.axis aria-hidden="true" {
                @for tick in self.ticks() {
                    span style={ "left:" (self.at(tick)) "%" } { (number(tick)) }
                }
                em { (unit) }
            }
        }
    }

    /// Lines behind what is drawn, as parts of an SVG.
    pub(super) fn grid(&self) -> Markup {
        html! {
            @for tick in self.ticks() {
                @let x = format!("{}%", self.at(tick));
                line.grid x1=(x) x2=(x) y1="0" y2="100%" {}
            }
        }
    }
}

/// 1, 2 and 5 times the powers of ten around two numbers.
fn marks(low: f64, high: f64) -> impl DoubleEndedIterator<Item = f64> {
    let (first, last) = (
        low.log10().floor() as i32 - 1,
        high.log10().ceil() as i32 + 1,
    );
    let decade = |power| [1.0, 2.0, 5.0].map(|mark| mark * 10f64.powi(power));
    (first..=last).flat_map(decade)
}

/// A round step that divides a length into three to seven.
fn step(length: f64) -> f64 {
    if length <= 0.0 {
        return 1.0;
    }
    let rough = length / 6.0;
    let power = 10f64.powi(rough.log10().floor() as i32);
    let steps = [1.0, 2.0, 5.0].map(|mark| mark * power);
    steps
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power)
}

/// A number with as many digits as tell something.
pub(super) fn number(number: f64) -> String {
    let text = match number.abs() {
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        1.0.. => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_begins_at_nothing_unless_its_numbers_are_far_apart() {
        let near = Scale::over([3.0, 47.0, 40.0].into_iter());
        assert_eq!(near.ticks(), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        assert_eq!(
            [near.at(0.0), near.at(25.0), near.at(50.0)],
            [0.0, 50.0, 100.0]
        );
        let far = Scale::over([3.0, 4700.0].into_iter());
        assert_eq!((far.at(2.0), far.at(5000.0)), (0.0, 100.0));
        assert_eq!(far.ticks(), [10.0, 100.0, 1000.0]);
        assert!((far.at(100.0) - 50.0).abs() < 1.0);
    }

    #[test]
    fn nothing_at_all_has_an_axis_too() {
        for numbers in [vec![], vec![0.0], vec![0.0, 0.0]] {
            let scale = Scale::over(numbers.into_iter());
            assert_eq!((scale.at(0.0), scale.at(1.0)), (0.0, 100.0));
            assert!(scale.ticks().len() > 1);
        }
    }

    #[test]
    fn numbers_have_the_digits_that_tell_something() {
        let shown = [0.06666, 1.0, 12.34, 250.4].map(number);
        assert_eq!(shown, ["0.067", "1", "12.3", "250"]);
    }
}
