"""The app: started here, published as a Space."""
