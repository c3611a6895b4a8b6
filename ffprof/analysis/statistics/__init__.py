"""Statistics of speeds: noise, intervals, looks, power and resampling."""
