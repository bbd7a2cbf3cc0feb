%tcl_version 8.6
%tcl_sitelib %{_datadir}/tcltk
%tcl_sitearch %{_libdir}/tcltk
