"""The diffusion-HJB agent."""
