"""What a stage of the pipeline does where that is more than one call: a module each, for a stage runs only its own."""
