"""Search for the settings of a fit, on KerasTuner."""
