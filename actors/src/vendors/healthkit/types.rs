//! HealthKit's types, and what they become (vendors.md §4a). A new type is a row here.

use super::units::Quantity;
use crate::domain::event::HrvMethod;
use crate::domain::metric::{Metric, ValueError};
use crate::domain::time::MS_PER_HOUR;

/// The kind of an event of ordinary samples (contract §3).
pub(super) const SAMPLE: &str = "sample";
/// The kind of an event of measurements of the body itself.
pub(super) const BODY: &str = "body";

/// What a sample is, by the name of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SampleType {
    /// A number with a unit.
    Quantity(&'static QuantityType),
    /// An interval in one state of sleep.
    Sleep,
    /// An hour in which one stood or did not.
    StandHour,
    /// An interval of attention, whose length is its value.
    Mindful,
    /// Systolic and diastolic pressure, taken together.
    BloodPressure,
    /// A session with its totals.
    Workout,
    /// A type of Apple's that we have no metric for.
    PassedBy,
}

/// One quantity type.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct QuantityType {
    /// Apple's identifier without its prefix, in lower case. Part of identities: never to be changed.
    pub(super) name: &'static str,
    /// What it is, where its value does not decide that.
    metric: Metric,
    pub(super) method: Option<HrvMethod>,
    pub(super) quantity: Quantity,
    /// The kind of its events.
    pub(super) kind: &'static str,
    /// Whether it adds up over its interval: of two totals of one span the larger is the later.
    pub(super) is_total: bool,
}

/// Why a number is no value of a type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Unfit {
    /// The unit is none of the quantity's.
    Unit,
    /// The value is not the metric's.
    Value(ValueError),
}

impl QuantityType {
    const fn new(name: &'static str, metric: Metric, quantity: Quantity) -> Self {
        Self { name, metric, method: None, quantity, kind: SAMPLE, is_total: false }
    }

    const fn total(self) -> Self {
        Self { is_total: true, ..self }
    }

    const fn body(self) -> Self {
        Self { kind: BODY, ..self }
    }

    const fn sdnn(self) -> Self {
        Self { method: Some(HrvMethod::Sdnn), ..self }
    }

    /// The metric's name, for sentences.
    pub(super) fn metric_name(&self) -> &'static str {
        self.metric.name()
    }

    /// The metric that a value in some unit is one of, and the value in that metric's own unit, inside its range.
    pub(super) fn accept(&self, value: f64, unit: Option<&str>) -> Result<(Metric, f64), Unfit> {
        let canonical = self.quantity.convert(value, unit).ok_or(Unfit::Unit)?;
        let metric = match self.quantity {
            Quantity::WristTemperature if Quantity::is_deviation(value) => Metric::TemperatureDeviation,
            _ => self.metric,
        };
        metric.accept(canonical).map(|value| (metric, value)).map_err(Unfit::Value)
    }
}

/// Nobody walks more steps in an hour (vendors.md §15).
const STEPS_AN_HOUR_MAX: f64 = 30_000.0;

impl QuantityType {
    /// Refuses what cannot have come together within so long.
    pub(super) fn check_rate(&self, value: f64, length_ms: i64) -> Result<(), &'static str> {
        let hours = (length_ms as f64 / MS_PER_HOUR as f64).max(1.0);
        match self.name == STEPS.name && value > STEPS_AN_HOUR_MAX * hours {
            true => Err("is more than 30000 count in an hour"),
            false => Ok(()),
        }
    }
}

macro_rules! quantities {
    ($($constant:ident = $row:expr;)*) => {
        $(pub(super) static $constant: QuantityType = $row;)*
        /// Every row of the table.
        #[cfg(test)]
        pub(super) static ALL: &[&QuantityType] = &[$(&$constant,)*];
    };
}

const fn row(name: &'static str, metric: Metric, quantity: Quantity) -> QuantityType {
    QuantityType::new(name, metric, quantity)
}

quantities! {
    HEART_RATE = row("heartrate", Metric::HeartRate, Quantity::HeartRate);
    RESTING_HEART_RATE = row("restingheartrate", Metric::RestingHeartRate, Quantity::HeartRate);
    WALKING_HEART_RATE = row("walkingheartrateaverage", Metric::WalkingHeartRate, Quantity::HeartRate);
    HRV = row("heartratevariabilitysdnn", Metric::Hrv, Quantity::Interval).sdnn();
    HEART_RATE_RECOVERY = row("heartraterecoveryoneminute", Metric::HeartRateRecovery, Quantity::HeartRate);
    OXYGEN_SATURATION = row("oxygensaturation", Metric::BloodOxygen, Quantity::Fraction);
    RESPIRATORY_RATE = row("respiratoryrate", Metric::RespiratoryRate, Quantity::BreathingRate);
    BODY_TEMPERATURE = row("bodytemperature", Metric::BodyTemperature, Quantity::Temperature);
    BASAL_TEMPERATURE = row("basalbodytemperature", Metric::BodyTemperature, Quantity::Temperature);
    WRIST_TEMPERATURE =
        row("applesleepingwristtemperature", Metric::SkinTemperature, Quantity::WristTemperature);
    STEPS = row("stepcount", Metric::Steps, Quantity::Count).total();
    WALKED = row("distancewalkingrunning", Metric::DistanceMeters, Quantity::Length).total();
    CYCLED = row("distancecycling", Metric::DistanceMeters, Quantity::Length).total();
    SWUM = row("distanceswimming", Metric::DistanceMeters, Quantity::Length).total();
    ACTIVE_ENERGY = row("activeenergyburned", Metric::ActiveCalories, Quantity::Energy).total();
    BASAL_ENERGY = row("basalenergyburned", Metric::BasalCalories, Quantity::Energy).total();
    EXERCISE_TIME = row("appleexercisetime", Metric::ExerciseMinutes, Quantity::Duration).total();
    STAND_TIME = row("applestandtime", Metric::StandMinutes, Quantity::Duration).total();
    STAND_HOURS = row("applestandhour", Metric::StandMinutes, Quantity::Hours).total();
    FLIGHTS_CLIMBED = row("flightsclimbed", Metric::FlightsClimbed, Quantity::Count).total();
    MINDFUL = row("mindfulsession", Metric::MindfulMinutes, Quantity::Duration).total();
    VO2_MAX = row("vo2max", Metric::Vo2Max, Quantity::OxygenUptake);
    BODY_MASS = row("bodymass", Metric::Weight, Quantity::Mass).body();
    BODY_FAT = row("bodyfatpercentage", Metric::BodyFat, Quantity::Fraction).body();
    BODY_MASS_INDEX = row("bodymassindex", Metric::Bmi, Quantity::MassIndex).body();
    HEIGHT = row("height", Metric::Height, Quantity::Length).body();
    LEAN_MASS = row("leanbodymass", Metric::LeanMass, Quantity::Mass).body();
    BLOOD_GLUCOSE = row("bloodglucose", Metric::BloodGlucose, Quantity::Glucose);
    SYSTOLIC = row("bloodpressuresystolic", Metric::BloodPressureSystolic, Quantity::Pressure);
    DIASTOLIC = row("bloodpressurediastolic", Metric::BloodPressureDiastolic, Quantity::Pressure);
    // A workout's totals.
    WORKOUT_DURATION = row("workoutduration", Metric::WorkoutDurationMinutes, Quantity::Duration);
    WORKOUT_ENERGY = row("workoutenergy", Metric::WorkoutCalories, Quantity::Energy);
    WORKOUT_DISTANCE = row("workoutdistance", Metric::WorkoutDistanceMeters, Quantity::Length);
    WORKOUT_AVERAGE = row("workoutheartrateaverage", Metric::WorkoutHeartRateAverage, Quantity::HeartRate);
    WORKOUT_MAX = row("workoutheartratemax", Metric::WorkoutHeartRateMax, Quantity::HeartRate);
    // Any part of a night; the time in bed has the widest range.
    NIGHT_PART = row("nightpart", Metric::TimeInBedMinutes, Quantity::Duration);
}

/// The longest name of a type, without underscores.
const NAME_MAX_BYTES: usize = 96;

/// A name without regard to case, `_`, spaces and `-`, on the stack: each sample has at least one.
pub(super) struct Folded {
    bytes: [u8; NAME_MAX_BYTES],
    len: usize,
}

impl Folded {
    /// None for a name that is longer than any that we know.
    pub(super) fn of(name: &str) -> Option<Self> {
        let mut folded = Self { bytes: [0; NAME_MAX_BYTES], len: 0 };
        for byte in name.bytes().filter(|byte| !matches!(byte, b'_' | b' ' | b'-')) {
            *folded.bytes.get_mut(folded.len)? = byte.to_ascii_lowercase();
            folded.len += 1;
        }
        Some(folded)
    }

    /// What is left of it after the first of these prefixes that it has.
    pub(super) fn without<'a>(&'a self, prefixes: &[&str]) -> &'a [u8] {
        let name = &self.bytes[..self.len];
        prefixes.iter().find_map(|prefix| name.strip_prefix(prefix.as_bytes())).unwrap_or(name)
    }
}

/// What Apple's identifiers begin with.
pub(super) const PREFIXES: [&str; 5] = [
    "hkquantitytypeidentifier",
    "hkcategorytypeidentifier",
    "hkcorrelationtypeidentifier",
    "hkdatatypeidentifier",
    "hkdatatype",
];

/// The type of this name, which apps write as `HKQuantityTypeIdentifierHeartRate`, `heartRate` or `heart_rate`.
pub(super) fn find(name: &str) -> Option<SampleType> {
    let folded = Folded::of(name)?;
    let quantity: &'static QuantityType = match folded.without(&PREFIXES) {
        b"heartrate" => &HEART_RATE,
        b"restingheartrate" => &RESTING_HEART_RATE,
        b"walkingheartrateaverage" | b"walkingheartrate" => &WALKING_HEART_RATE,
        b"heartratevariabilitysdnn" => &HRV,
        b"heartraterecoveryoneminute" => &HEART_RATE_RECOVERY,
        b"oxygensaturation" => &OXYGEN_SATURATION,
        b"respiratoryrate" => &RESPIRATORY_RATE,
        b"bodytemperature" => &BODY_TEMPERATURE,
        b"basalbodytemperature" => &BASAL_TEMPERATURE,
        b"applesleepingwristtemperature" => &WRIST_TEMPERATURE,
        b"stepcount" => &STEPS,
        b"distancewalkingrunning" => &WALKED,
        b"distancecycling" => &CYCLED,
        b"distanceswimming" => &SWUM,
        b"activeenergyburned" => &ACTIVE_ENERGY,
        b"basalenergyburned" => &BASAL_ENERGY,
        b"appleexercisetime" => &EXERCISE_TIME,
        b"applestandtime" => &STAND_TIME,
        b"flightsclimbed" => &FLIGHTS_CLIMBED,
        b"vo2max" => &VO2_MAX,
        b"bodymass" => &BODY_MASS,
        b"bodyfatpercentage" => &BODY_FAT,
        b"bodymassindex" => &BODY_MASS_INDEX,
        b"height" => &HEIGHT,
        b"leanbodymass" => &LEAN_MASS,
        b"bloodglucose" => &BLOOD_GLUCOSE,
        b"bloodpressuresystolic" => &SYSTOLIC,
        b"bloodpressurediastolic" => &DIASTOLIC,
        b"sleepanalysis" => return Some(SampleType::Sleep),
        b"applestandhour" => return Some(SampleType::StandHour),
        b"mindfulsession" => return Some(SampleType::Mindful),
        b"bloodpressure" => return Some(SampleType::BloodPressure),
        b"workout" | b"workouttype" | b"hkworkout" | b"hkworkouttype" | b"hkworkouttypeidentifier" => {
            return Some(SampleType::Workout);
        }
        name if name.starts_with(b"hkworkoutactivitytype") => return Some(SampleType::Workout),
        name => return is_passed_by(name).then_some(SampleType::PassedBy),
    };
    Some(SampleType::Quantity(quantity))
}

/// Types of Apple's without a metric of ours: an app that sends them has done nothing wrong.
static PASSED_BY: &[&[u8]] = &[
    b"atrialfibrillationburden",
    b"physicaleffort",
    b"runningpower",
    b"timeindaylight",
    b"environmentalaudioexposure",
    b"environmentalsoundreduction",
    b"headphoneaudioexposure",
    b"audioexposureevent",
    b"headphoneaudioexposureevent",
    b"environmentalaudioexposureevent",
    b"runningspeed",
    b"runningstridelength",
    b"runninggroundcontacttime",
    b"runningverticaloscillation",
    b"cyclingpower",
    b"cyclingspeed",
    b"cyclingcadence",
    b"cyclingfunctionalthresholdpower",
    b"walkingspeed",
    b"walkingsteplength",
    b"walkingasymmetrypercentage",
    b"walkingdoublesupportpercentage",
    b"applewalkingsteadiness",
    b"applewalkingsteadinessevent",
    b"sixminutewalktestdistance",
    b"stairascentspeed",
    b"stairdescentspeed",
    b"applemovetime",
    b"swimmingstrokecount",
    b"distancewheelchair",
    b"distancedownhillsnowsports",
    b"pushcount",
    b"underwaterdepth",
    b"watertemperature",
    b"uvexposure",
    b"waistcircumference",
    b"nikefuel",
    b"insulindelivery",
    b"bloodalcoholcontent",
    b"numberofalcoholicbeverages",
    b"numberoftimesfallen",
    b"electrodermalactivity",
    b"peripheralperfusionindex",
    b"forcedvitalcapacity",
    b"forcedexpiratoryvolume1",
    b"peakexpiratoryflowrate",
    b"inhalerusage",
    b"applesleepingbreathingdisturbances",
    b"sleepapneaevent",
    b"workouteffortscore",
    b"estimatedworkouteffortscore",
    b"highheartrateevent",
    b"lowheartrateevent",
    b"irregularheartrhythmevent",
    b"lowcardiofitnessevent",
    b"handwashingevent",
    b"toothbrushingevent",
    b"menstrualflow",
    b"intermenstrualbleeding",
    b"cervicalmucusquality",
    b"ovulationtestresult",
    b"sexualactivity",
    b"food",
    b"electrocardiogram",
    b"heartbeatseries",
    b"activitysummary",
    b"stateofmind",
    b"pregnancy",
    b"pregnancytestresult",
    b"progesteronetestresult",
    b"lactation",
    b"contraceptive",
    b"irregularmenstrualcycles",
    b"infrequentmenstrualcycles",
    b"prolongedmenstrualperiods",
    b"persistentintermenstrualbleeding",
    b"bleedingduringpregnancy",
    b"bleedingafterpregnancy",
    b"hypertensionevent",
    b"distancerowing",
    b"distancepaddlesports",
    b"distanceskatingsports",
    b"distancecrosscountryskiing",
    b"rowingspeed",
    b"paddlesportsspeed",
    b"crosscountryskiingspeed",
    // Symptoms.
    b"abdominalcramps",
    b"acne",
    b"appetitechanges",
    b"bladderincontinence",
    b"bloating",
    b"breastpain",
    b"chesttightnessorpain",
    b"chills",
    b"constipation",
    b"coughing",
    b"diarrhea",
    b"dizziness",
    b"dryskin",
    b"fainting",
    b"fatigue",
    b"fever",
    b"generalizedbodyache",
    b"hairloss",
    b"headache",
    b"heartburn",
    b"hotflashes",
    b"lossofsmell",
    b"lossoftaste",
    b"lowerbackpain",
    b"memorylapse",
    b"moodchanges",
    b"nausea",
    b"nightsweats",
    b"pelvicpain",
    b"rapidpoundingorflutteringheartbeat",
    b"runnynose",
    b"shortnessofbreath",
    b"sinuscongestion",
    b"skippedheartbeat",
    b"sleepchanges",
    b"sorethroat",
    b"vaginaldryness",
    b"vomiting",
    b"wheezing",
];

fn is_passed_by(name: &[u8]) -> bool {
    PASSED_BY.contains(&name) || name.starts_with(b"dietary")
}
