"""Serve a moving ball over RTSP, to try `deeplab-tf stream --source rtsp://...` without a camera.

    /usr/bin/python3 tools/check/rtsp_server.py [PORT] [SIZE] [RATE]
    deeplab-tf stream BUNDLE --source rtsp://user:secret@127.0.0.1:8554/live --serve 8080

The server is GStreamer's. On Debian and Ubuntu: apt install gir1.2-gst-rtsp-server-1.0 python3-gi
gstreamer1.0-plugins-good; run it with the system's own Python, which has the bindings. User and password are user and
secret.
"""

import sys

PIPELINE = (
    "( videotestsrc is-live=true pattern=ball ! "
    "video/x-raw,format=I420,width={width},height={height},framerate={fps}/1 ! "
    "jpegenc ! rtpjpegpay name=pay0 )"
)


def main():
    """Serve until killed."""
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    port, size, fps = (sys.argv[1:] + ["8554", "256x512", "30"][len(sys.argv) - 1 :])[:3]
    height, width = size.split("x")
    Gst.init(None)
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(PIPELINE.format(width=width, height=height, fps=fps))
    factory.set_shared(True)
    permissions = GstRtspServer.RTSPPermissions.new()
    permissions.add_permission_for_role("viewer", GstRtspServer.RTSP_PERM_MEDIA_FACTORY_ACCESS, True)
    permissions.add_permission_for_role("viewer", GstRtspServer.RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, True)
    factory.set_permissions(permissions)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(port)
    server.set_auth(_users(GstRtspServer))
    server.get_mount_points().add_factory("/live", factory)
    if not server.attach(None):
        sys.exit(f"Nothing can listen at 127.0.0.1, port {port}; name another.")
    print(f"rtsp://user:secret@127.0.0.1:{port}/live", flush=True)
    GLib.MainLoop().run()


def _users(rtsp):
    """Return the authentication of one user, who may view."""
    token = rtsp.RTSPToken.new()
    token.set_string(rtsp.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
    auth = rtsp.RTSPAuth.new()
    auth.add_basic(rtsp.RTSPAuth.make_basic("user", "secret"), token)
    return auth


if __name__ == "__main__":
    main()
