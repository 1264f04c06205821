"""The layers of the backbone: KAN, TKAN, variable selection and gates."""
